import asyncio
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from launcher import ray_job
from launcher.rundir import PROJECT


def test_a_job_gets_the_code_that_it_loads_and_nothing_else(tmp_path):
    ray_job.copy_code(PROJECT, tmp_path)
    sent = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert {"medical_team/openrlhf_agent.py", "medical_team/prompts/short/attacker_harmful.txt", "data/demo_world.json",
            "launcher/shim/sitecustomize.py", "launcher/flash_attn_stub/flash_attn/__init__.py"} <= sent  # fmt: skip
    assert {file.split("/")[0] for file in sent} == {"medical_team", "launcher", "data"}
    assert not any("pycache" in file or "presets" in file or file.endswith(".csv") for file in sent)


async def pieces(*texts: str):
    for text in texts:
        yield text


def test_a_log_that_is_read_anew_is_printed_once(capsys):
    printed = ray_job.Printed()
    asyncio.run(printed.follow(pieces("one\n", "tw")))
    asyncio.run(printed.follow(pieces("one\nt", "wo\nthr", "ee\n")))
    asyncio.run(printed.follow(pieces("one\ntwo\n")))
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def ended(status: str, code: int | None, message: str = ""):
    return SimpleNamespace(status=SimpleNamespace(value=status), driver_exit_code=code, message=message)


def test_the_exit_code_is_the_job_s():
    assert ray_job._code("one-1", ended("SUCCEEDED", 0)) == 0
    assert ray_job._code("one-1", ended("FAILED", 3)) == 3
    assert ray_job._code("one-1", ended("FAILED", -9)) == 1


def test_a_job_that_did_not_end_by_itself_says_why():
    with pytest.raises(ray_job.JobError, match="job one-1 is STOPPED on the cluster: Job was intentionally stopped"):
        ray_job._code("one-1", ended("STOPPED", None, "Job was intentionally stopped."))


class Cluster:
    """A client that loses its connection once."""

    def __init__(self, *logs):
        self.logs = list(logs)

    def tail_job_logs(self, job: str):
        log = self.logs.pop(0)
        if isinstance(log, OSError):
            raise log
        return pieces(log)

    def get_job_info(self, job: str):
        info = ended("RUNNING" if self.logs else "SUCCEEDED", None if self.logs else 0)
        info.status.is_terminal = lambda: not self.logs
        return info


def test_a_lost_connection_is_taken_up_again(capsys, monkeypatch):
    monkeypatch.setattr(ray_job, "PAUSE", 0.01)
    assert ray_job.follow(Cluster("one\n", OSError("gone"), "one\ntwo\n"), "one-1") == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_a_cluster_that_stays_silent_ends_the_wait(monkeypatch):
    monkeypatch.setattr(ray_job, "PATIENCE", 0.0)
    with pytest.raises(ray_job.JobError, match="has not answered"):
        ray_job.follow(Cluster(OSError("gone")), "one-1")


WAITS = """
import time
class JobSubmissionClient:
    def __init__(self, address): pass
    def submit_job(self, **said): print(sorted(said), flush=True); time.sleep(60)
"""


def test_a_stop_of_the_client_leaves_no_traceback_in_the_log(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").touch()
    (tmp_path / "ray" / "job_submission.py").write_text(WAITS)
    words = ["--address", "http://head", "--submission-id", "one-1", "--project", str(PROJECT)]
    argv = [sys.executable, "-m", "launcher.ray_job", *words, "--runtime-env-json", '{"env_vars": {}}', "--", "true"]
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "['entrypoint', 'runtime_env', 'submission_id']\n"
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=55)  # less than it would wait by itself
    assert (client.returncode, errors) == (130, "")
