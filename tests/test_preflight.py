import http.server
import json
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from launcher import hub, preflight
from launcher.config import resolve
from launcher.preflight import GB, Gpu, Problem
from launcher.runs import Runs
from tests.ray_head import ray_head

FILES = Path(__file__).parent / "data"
MODEL = {"policy": "org/model", "prompt_style": "full"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Runs:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return Runs(tmp_path)


def model(folder: Path, *files: str, parameters: int = 0) -> str:
    folder.mkdir()
    for name in files or ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(bytes(2 * parameters if "model" in name else 2))
    return str(folder)


def at(problems: list[Problem], field: str) -> list[str]:
    return [problem.text for problem in problems if problem.field == field]


def found(here: Runs, settings: dict, preset: str = "cpu-demo") -> list[Problem]:
    return preflight.check(resolve(preset, MODEL | settings), here)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        (
            {"train.batch_size": 48, "train.estimator": "rloo"},
            ["train.batch_size", "train.micro_batch_size", "train.estimator"],
        ),
        ({"custom_configs.max_turns": 3}, ["custom_configs.max_turns"]),
        ({"device": "cuda", "cluster.rollout_engines": 2}, ["memory.colocate_all"]),
        ({"custom_configs.error_types": ["dosage", "banana"]}, ["custom_configs.error_types"]),
    ],
)
def test_objections_of_the_settings_go_to_their_fields(settings, fields):
    with pytest.raises(ValidationError) as refused:
        resolve("cpu-demo", settings)
    assert [problem.field for problem in preflight.of_error(refused.value)] == fields


def test_a_missing_engine_says_how_to_install_it(here, monkeypatch, tmp_path):
    monkeypatch.setenv("ENGINE_PYTHON", str(tmp_path / "nowhere"))
    assert "engine install --device cpu" in at(found(here, {}), "device")[0]


def test_an_engine_is_looked_at_by_version(fake, tmp_path, monkeypatch):
    runs = fake("done")
    settings = {"policy": model(tmp_path / "model")}
    assert at(found(runs, settings), "device") == []
    attention = found(runs, settings | {"memory.attention": "flash_attention_2"})
    assert "flash-attn is missing" in at(attention, "memory.attention")[0]


def test_old_versions_are_named(tmp_path, fake, monkeypatch):
    runs = fake("done")
    monkeypatch.setenv("FAKE_VERSIONS", json.dumps({"openrlhf": "0.9.0"}))
    texts = at(found(runs, {"policy": model(tmp_path / "model")}), "device")
    assert any("openrlhf 0.9.0" in text for text in texts) and any("torch" in text for text in texts)


def test_a_gpu_job_without_a_gpu_says_so(here):
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert any("no NVIDIA GPU answers" in text for text in at(found(here, {"device": "cuda"}), "device"))
    else:
        assert preflight.gpus()[0].total > GB


H100 = Gpu("NVIDIA H100", int(85 * GB), int(84 * GB))


class TwoGpus:
    """Answers as pynvml does, for a GPU that is taken and one that is free."""

    def nvmlInit(self):
        pass

    nvmlShutdown = nvmlInit

    def nvmlDeviceGetHandleByIndex(self, index):
        return int(index)

    def nvmlDeviceGetHandleByUUID(self, name):
        return {"GPU-a": 0, "GPU-b": 1}[name]

    def nvmlDeviceGetMemoryInfo(self, index):
        return Gpu("", 85, 84 * index)

    def nvmlDeviceGetName(self, index):
        return f"number {index}"


@pytest.mark.parametrize(("chosen", "seen"), [("1", [84]), ("GPU-b", [84]), ("1,0", [84, 0]), ("", [])])
def test_only_the_gpus_that_a_run_may_take_are_looked_at(monkeypatch, chosen, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.free for gpu in preflight.gpus(TwoGpus())] == seen


def test_gpus_that_are_too_few_or_too_full(tmp_path):
    one = resolve("cpu-demo", MODEL | {"device": "cuda", "memory.vllm_share": 0.5})
    assert list(preflight.gpu_problems(one, [H100])) == []
    apart = resolve("cpu-demo", MODEL | {"device": "cuda", "memory.colocate_all": False, "train.kl_coefficient": 0.1})
    assert at(list(preflight.gpu_problems(apart, [H100])), "cluster.gpus_per_node") == [
        "the run takes 3 GPUs of this machine, which has 1"
    ]
    full = Gpu("NVIDIA H100", int(85 * GB), int(20 * GB))
    assert "20.0 of 85.0 GB free" in at(list(preflight.gpu_problems(one, [full])), "memory.vllm_share")[0]


GUIDE = {"data.path": "notes.csv", "judge.kind": "reference"}


@pytest.mark.parametrize(
    ("settings", "gb", "field", "level", "remedy"),
    [
        ({}, 82, "train.micro_batch_size", "warning", "set train.micro_batch_size 1"),
        ({}, 48, "memory.adam_stream", "error", "set memory.adam_stream true"),
        ({}, 8, "policy", "error", "take a smaller policy, shorter sequences, or more GPUs"),
        (
            {"memory.vllm_share": 0.01, "memory.zero_stage": 3},
            85,
            "memory.vllm_share",
            "error",
            "set memory.vllm_share 0.15",
        ),
    ],
)
def test_a_run_that_the_plan_finds_too_large_is_told_what_would_make_it_fit(settings, gb, field, level, remedy):
    gpu = Gpu("card", int(gb * GB), int(gb * GB))
    (problem,) = preflight.plan_problems(resolve("guide-single-gpu", GUIDE | settings), gpu)
    assert (problem.field, problem.level, problem.text.partition(": ")[2]) == (field, level, remedy)


def test_a_run_is_planned_for_the_smallest_of_the_gpus_that_it_takes():
    run = resolve("guide-single-gpu", GUIDE | {"memory.colocate_all": False, "memory.vllm_share": 0.5})
    small = Gpu("small", int(24 * GB), int(24 * GB))
    texts = [one.text for one in preflight.gpu_problems(run, [H100, small, H100])]
    assert any("small has 24.0 GB" in text for text in texts)
    assert not any("small" in one.text for one in preflight.gpu_problems(run, [H100, H100, H100, small]))


def test_what_others_hold_of_a_gpu_counts_unless_the_run_waits():
    run = resolve("guide-single-gpu", GUIDE | {"memory.vllm_share": 0.3, "train.micro_batch_size": 1})
    whole, full = Gpu("card", int(100 * GB), int(100 * GB)), Gpu("card", int(100 * GB), int(40 * GB))
    assert list(preflight.plan_problems(run, whole)) == []
    (problem,) = preflight.plan_problems(run, full)
    assert (problem.field, problem.level) == ("device", "error") and "card has 40.0 of 100.0 GB free" in problem.text
    assert list(preflight.plan_problems(run, full, waits=True)) == []


def test_what_is_moved_off_the_gpu_needs_main_memory():
    run = resolve("guide-single-gpu", GUIDE | {"memory.adam_offload": True})
    card = Gpu("card", int(100 * GB), int(100 * GB))
    assert list(preflight.plan_problems(run, card, main=int(200 * GB))) == []
    (problem,) = preflight.plan_problems(run, card, main=int(8 * GB))
    assert (problem.field, problem.level) == ("memory.adam_offload", "warning") and "8.0 GB are free" in problem.text
    assert list(preflight.plan_problems(run, card, waits=True, main=int(8 * GB))) == []


def test_of_a_model_whose_shape_is_not_known_nothing_is_said(tmp_path):
    unreadable = resolve("cpu-demo", {"device": "cuda", "policy": model(tmp_path / "model", parameters=10_000)})
    assert list(preflight.plan_problems(unreadable, Gpu("small", 100_000, 100_000))) == []


def test_little_memory_is_a_warning():
    run = resolve("cpu-demo", MODEL)
    (problem,) = preflight.memory_problems(run, int(2 * GB))
    assert problem.level == "warning" and "5.4 GB" in problem.text and "2.0 GB are free" in problem.text
    assert list(preflight.memory_problems(run, int(8 * GB))) == []


def test_the_disk_must_hold_the_checkpoints(tmp_path):
    run = resolve("cpu-demo", {"policy": model(tmp_path / "model", parameters=1_000_000), "checkpoint.keep": 3})
    needed = 0.5 * GB + 1e6 * (2 + 14 * 3)
    assert list(preflight.disk_problems(run, tmp_path, int(needed) + 1)) == []
    models = {"policy": run.policy, "checkpoint.keep": 1, "checkpoint.huggingface": True}
    (problem,) = preflight.disk_problems(
        resolve("cpu-demo", models), tmp_path, int(0.5 * GB + 1e6 * (2 + 14 * 2 + 2 * 3)) - 1
    )
    assert "2 checkpoints" in problem.text
    (problem,) = preflight.disk_problems(run, tmp_path, int(needed) - 1)
    assert problem.field == "checkpoint.keep" and "3 checkpoints" in problem.text


def test_broken_data_is_named_with_its_lines(here):
    (text,) = at(found(here, {"data.path": str(FILES / "broken.csv")}, "cpu-medec"), "data.path")
    assert "broken.csv:5: unknown error type 'astrology'" in text
    (text,) = at(found(here, {"data.path": "/no/such.csv"}, "cpu-medec"), "data.path")
    assert "/no/such.csv" in text


def test_too_few_cases_are_counted(here):
    (text,) = at(
        found(here, {"data.path": str(FILES / "cases.csv"), "data.eval_cases": 5000}, "cpu-medec"), "data.eval_cases"
    )
    assert "5000 are held out" in text
    few = {"data.cases": 10, "data.eval_cases": 4, "custom_configs.error_types": ["dosage"]}
    assert "2 cases have one of the chosen error types" in at(found(here, few), "data.eval_cases")[0]
    assert at(found(here, {"data.cases": 20, "data.eval_cases": 4}), "data.eval_cases") == []


def test_a_local_model_must_be_whole(here, tmp_path):
    whole = model(tmp_path / "whole")
    assert at(found(here, {"policy": whole}), "policy") == []
    part = model(tmp_path / "part", "config.json")
    assert "lacks weights, a tokenizer" in at(found(here, {"policy": part}), "policy")[0]
    assert "there is no folder ./nope" in at(found(here, {"policy": "./nope"}), "policy")[0]


def test_only_the_demo_model_takes_the_short_prompts(here, tmp_path):
    (problem,) = [one for one in found(here, {"prompt_style": "short"}) if one.field == "prompt_style"]
    assert problem.level == "warning"
    demo = model(tmp_path / "demo", "skill.json")
    problems = found(here, {"policy": demo, "prompt_style": "full"})
    assert (
        at(problems, "prompt_style")
        and "lacks" in at(problems, "policy")[0]
        or "cannot be read" in at(problems, "policy")[0]
    )


def test_no_checkpoint_in_a_short_run_is_a_warning(here):
    texts = [one for one in found(here, {"train.steps": 5, "eval.steps": 5}) if one.field == "checkpoint.steps"]
    assert [one.level for one in texts] == ["warning"]


def test_errors_come_before_warnings(here):
    levels = [problem.level for problem in found(here, {"train.steps": 5, "device": "cuda"})]
    assert levels == sorted(levels) and set(levels) == {"error", "warning"}


def test_another_run_on_the_device_is_named(fake, tmp_path):
    runs = fake("hang")
    settings = {"policy": model(tmp_path / "model"), "data.cases": 20, "data.eval_cases": 4}
    run = runs.create(resolve("cpu-demo", settings))
    assert at(found(runs, settings), "device") == []
    runs.start(run)
    assert any(f"run {run.id} is using the cpu" in text for text in at(found(runs, settings), "device"))
    assert not any(run.id in text for text in at(found(runs, settings | {"device": "cuda"}), "device"))
    runs.stop(run.id, "now")
    runs.wait(run)
    assert at(found(runs, settings), "device") == []


# The hub


@contextmanager
def answering(status: int, **headers: str):
    class Hub(http.server.BaseHTTPRequestHandler):
        asked: list[tuple[str, str | None]] = []

        def do_HEAD(self):
            self.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Hub.asked
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "headers", "token", "said"),
    [
        (200, {}, None, None),
        (307, {"Location": "/elsewhere"}, None, None),
        (401, {"X_Error_Code": "GatedRepo"}, None, "behind a licence: accept it on"),
        (403, {"X_Error_Code": "GatedRepo"}, "t0ken", "export HF_TOKEN"),
        (403, {}, "t0ken", "behind a licence"),
        (401, {"X_Error_Code": "RepoNotFound"}, None, "has no model org/model; a private one needs HF_TOKEN"),
        (404, {}, "t0ken", "has no model org/model: check the name"),
        (503, {}, None, "answers 503"),
    ],
)
def test_what_the_hub_says_of_a_model(here, monkeypatch, status, headers, token, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with answering(status, **headers) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        else:
            monkeypatch.delenv("HF_TOKEN", raising=False)
        text = hub.refusal("org/model")
        assert text is None if said is None else said in text
        assert "t0ken" not in (text or "")
        assert asked == [("/org/model/resolve/main/config.json", f"Bearer {token}" if token else None)]
        assert hub.refusal("org/model") == text
        assert len(asked) == 1


def test_who_has_logged_in_on_this_machine_is_known_to_the_hub(here, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in ("HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("l0gin\n")
    with answering(200) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert hub.refusal("org/private") is None
    assert asked == [("/org/private/resolve/main/config.json", "Bearer l0gin")]


def test_a_silent_hub_is_waited_for_three_seconds(here, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        text = hub.refusal("org/model")
        assert time.monotonic() - started < 20.0
    assert "does not answer" in text and "local folder" in text


def test_a_machine_without_a_network_says_so(here, monkeypatch):
    assert "HF_HUB_OFFLINE forbids" in at(found(here, {}), "policy")[0]
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in hub.refusal("org/other")


def test_a_model_in_the_hubs_cache_needs_no_network(here, tmp_path):
    folder = tmp_path / "hf" / "hub" / "models--org--model" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert at(found(here, {}), "policy") == []


def test_a_cluster_is_asked_in_place_of_this_machine(fake, tmp_path):
    here = fake("done")
    settings = {"policy": model(tmp_path / "model"), "device": "cuda"}
    silent = found(here, settings | {"cluster.ray_address": "http://127.0.0.1:9"})
    assert "no Ray dashboard answers at http://127.0.0.1:9" in at(silent, "cluster.ray_address")[0]
    with ray_head() as head:
        asked = found(here, settings | {"cluster.ray_address": head.address})
    assert at(asked, "device") == []
    (shared,) = at(asked, "cluster.ray_address")
    assert f"{tmp_path / 'runs'}" in shared and "must be at the same path on 10.0.0.2" in shared


def test_a_submitting_machine_needs_ray_s_version_and_nothing_else(fake, tmp_path, monkeypatch):
    here = fake("done")
    monkeypatch.setenv("FAKE_VERSIONS", json.dumps({"ray": "2.40.0"}))
    preflight._engine_report.cache_clear()
    with ray_head() as head:
        settings = {"policy": model(tmp_path / "model"), "cluster.ray_address": head.address}
        old = at(found(here, settings), "cluster.ray_address")
        monkeypatch.setenv("FAKE_VERSIONS", json.dumps({"ray": "2.55.0"}))
        right = at(found(here, settings), "cluster.ray_address")
    assert "ray 2.40.0 is in" in old[0] and not any("2.55.0 is needed" in text for text in right)


def test_several_machines_need_a_cluster(here):
    sizes = {"device": "cuda", "cluster.nodes": 2, "cluster.rollout_engines": 2, "train.micro_batch_size": 16}
    assert "give the address of its head" in at(found(here, sizes), "cluster.ray_address")[0]
