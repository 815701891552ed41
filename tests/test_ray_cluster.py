import http.server
import threading

import pytest
from pydantic import ValidationError

from launcher import ray_cluster
from launcher.config import resolve
from launcher.ray_cluster import Amount, Silent
from launcher.runs import Runs
from launcher.state import End
from tests.ray_head import ray_head
from tests.test_supervise import until

HERE = frozenset({"10.0.0.2"})
TWO_ENGINES = {"cluster.ray_address": "http://head:8265", "cluster.rollout_engines": 2}


@pytest.fixture
def head():
    with ray_head() as made:
        yield made


def troubles(tmp_path, settings=None, here=HERE, preset="cpu-demo", **changes):
    with ray_head() as head:
        found = ray_cluster.ask(head.address)._replace(**changes)
    config = resolve(preset, TWO_ENGINES | (settings or {}))
    return [(one.setting, one.level, one.text) for one in ray_cluster.trouble(config, found, here, tmp_path)]


def test_a_cluster_tells_its_version_machines_and_what_is_free(head):
    found = ray_cluster.ask(head.address)
    assert (found.version, found.hosts) == ("2.55.0", HERE)
    assert (found.gpus.total, found.gpus.free, found.cpus.total) == (4.0, 4.0, 5.0)


def test_a_cluster_that_has_enough_stands_in_nobody_s_way(tmp_path):
    assert troubles(tmp_path) == []


def test_an_address_where_nothing_answers_says_how_to_start_a_head():
    with pytest.raises(Silent, match=r"no Ray dashboard answers at http://127.0.0.1:9 .*ray\[default\]"):
        ray_cluster.ask("http://127.0.0.1:9")


def test_another_web_server_is_no_ray_head():
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(Silent, match="not as Ray's dashboard does"):
        ray_cluster.ask(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_another_version_of_ray_is_refused(tmp_path):
    assert troubles(tmp_path, version="2.40.0") == [
        ("cluster.ray_address", "error",
         "the cluster runs Ray 2.40.0, the engine needs 2.55.0: install the engine on its machines"),
    ]  # fmt: skip


def test_a_cluster_that_is_too_small_is_refused_and_one_that_is_busy_named(tmp_path):
    small = troubles(tmp_path, gpus=Amount(2, 0), cpus=Amount(3, 0))
    assert [(setting, level) for setting, level, _ in small] == [
        ("cluster.gpus_per_node", "error"), ("cluster.ray_address", "error"),
    ]  # fmt: skip
    assert "takes 3 GPUs, the cluster has 2" in small[0][2] and "takes 4 CPUs, the cluster has 3" in small[1][2]
    ((_, level, text),) = troubles(tmp_path, gpus=Amount(4, 2))
    assert level == "warning" and "2 of the cluster's 4 are free" in text


def test_other_machines_must_see_the_runs_folder(tmp_path):
    ((setting, level, text),) = troubles(tmp_path, here=frozenset({"127.0.0.1"}))
    assert (setting, level) == ("cluster.ray_address", "warning")
    assert f"{tmp_path} must be at the same path on 10.0.0.2" in text


def test_secrets_do_not_travel_and_that_is_said(tmp_path):
    settings = {"logging.wandb.enabled": True, "judge.token_variable": "JUDGE_TOKEN"}
    found = {setting: text for setting, _, text in troubles(tmp_path, settings)}
    assert "WANDB_API_KEY must be in the environment" in found["logging.wandb.enabled"]
    assert "JUDGE_TOKEN must be in the environment" in found["judge.token_variable"]


@pytest.mark.parametrize(
    ("settings", "gpus"),
    [
        ({}, 3),
        ({"train.kl_coefficient": 0.1}, 4),
        ({"device": "cuda", "memory.colocate_all": False, "train.kl_coefficient": 0.1, "cluster.nodes": 2,
          "cluster.reference_nodes": 1, "cluster.tensor_parallel": 2, "train.micro_batch_size": 16,
          "rollout.micro_batch_size": 16}, 2 + 1 + 4),
        ({"device": "cuda", "cluster.nodes": 2, "train.micro_batch_size": 16, "rollout.micro_batch_size": 16}, 2),
    ],
)  # fmt: skip
def test_what_a_run_reserves(settings, gpus):
    assert ray_cluster.need(resolve("cpu-demo", TWO_ENGINES | settings)) == (gpus, gpus + 1)


@pytest.mark.parametrize("address", ["head:8265", "http://user:word@head:8265", "ray://head:10001"])
def test_an_address_is_a_web_address_without_a_password(address):
    with pytest.raises(ValidationError, match="no web address without a password"):
        resolve("cpu-demo", {"cluster.ray_address": address})


def test_two_engines_on_a_cpu_need_a_cluster():
    with pytest.raises(ValidationError, match="must be 1 on a CPU without cluster.ray_address"):
        resolve("cpu-demo", {"cluster.rollout_engines": 2})


def test_only_the_run_s_own_jobs_are_ended(head):
    head.jobs = {"one-1": "FAILED", "one-2": "RUNNING", "one-20": "RUNNING", "other-1": "RUNNING"}
    assert ray_cluster.end_jobs(head.address, "one", 2) == []
    assert head.stopped == ["one-2"]


def test_a_job_that_does_not_end_is_named(head, monkeypatch):
    monkeypatch.setattr(ray_cluster, "STOP_SECONDS", 0.5)
    head.jobs, head.stubborn = {"one-1": "RUNNING"}, True
    assert ray_cluster.end_jobs(head.address, "one", 1) == [f"job one-1 on {head.address}"]
    assert "job of run one, perhaps: no Ray dashboard" in ray_cluster.end_jobs("http://127.0.0.1:9", "one", 1)[0]


def start(here: Runs, address: str, **changes):
    settings = {"policy": "some/model", "train.steps": 3, "data.cases": 20, "data.eval_cases": 4, "checkpoint.steps": 2}
    run = here.create(resolve("cpu-demo", settings | {"cluster.ray_address": address} | changes))
    here.start(run)
    return run


def test_a_stop_ends_the_job_and_leaves_others(fake, head):
    here = fake("hang")
    run = start(here, head.address)
    head.jobs = {f"{run.id}-1": "RUNNING", "somebody-else-1": "RUNNING"}
    until(lambda: here.look(run).step == 3)
    here.stop(run.id, "now")
    now = here.wait(run)
    assert (now.state, now.left_over, head.stopped) == (End.STOPPED, (), [f"{run.id}-1"])


def test_a_client_that_fails_leaves_no_job_behind(fake, head):
    here = fake("raise")
    run = start(here, head.address)
    head.jobs = {f"{run.id}-1": "RUNNING"}
    now = here.wait(run)
    assert now.state == End.CRASHED and "the reward was lost" in now.reason
    assert head.stopped == [f"{run.id}-1"]


def test_a_gpu_run_is_submitted_from_a_machine_that_has_none(fake, head):
    here = fake("done")
    now = here.wait(start(here, head.address, device="cuda"))
    assert (now.state, now.step) == (End.DONE, 3), now.reason


def test_a_judge_at_a_loopback_address_is_not_found_from_other_machines(tmp_path):
    settings = {"judge.kind": "server", "judge.url": "http://localhost:8009"}
    found = {setting: text for setting, _, text in troubles(tmp_path, settings, here=frozenset())}
    assert "http://localhost:8009 is another machine on 10.0.0.2" in found["judge.url"]
    assert "judge.url" not in {setting for setting, _, _ in troubles(tmp_path, settings)}
