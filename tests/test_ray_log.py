"""What Ray's log monitor had not brought into the trainer's log."""

from launcher.ray_log import unheard

WHO = "(PPOTrainer pid=7) "


def said(step: int, head: str = "ppo_trainer.py:551] ✨ Global step") -> str:
    return f"INFO 11-22 13:56:51 {head} {step}: {{'reward': 0.5}}"


def evaluated(step: int) -> str:
    told = said(step, "ppo_trainer.py:600] ✨ Evaluation completed in 3s, global_step")
    return told.replace(": {", ", eval_metrics: {")


def heard(tmp_path, log: list[str], worker: str, pid: int = 7, told: int = 2) -> list[str]:
    logs = tmp_path / "scratch" / "ray" / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / f"worker-0a-01-{pid}.out").write_text(worker, encoding="utf-8")
    (tmp_path / "train.log").write_text("\n".join(log), encoding="utf-8")
    return [line.decode() for line in unheard(tmp_path / "scratch", tmp_path / "train.log", told)]


def test_the_steps_after_the_last_that_was_told_are_found(tmp_path):
    lines = [":job_id:01", said(1), said(2), evaluated(2), "some words", said(3), evaluated(3), said(4)]
    worker = "".join(f"{line}\n" for line in lines)
    log = [WHO + said(1), WHO + said(2), WHO + evaluated(2)]
    assert heard(tmp_path, log, worker) == [WHO + said(3), WHO + evaluated(3), WHO + said(4)]


def test_an_evaluation_that_was_not_told_comes_with_its_step(tmp_path):
    assert heard(tmp_path, [WHO + said(2)], f"{said(2)}\n{evaluated(2)}\n") == [WHO + evaluated(2)]


def test_a_line_that_was_not_finished_and_one_of_a_models_text_are_none(tmp_path):
    sample = f"INFO 11-22 13:56:51 ppo_trainer.py:224] Sample: ['{said(9)}']"
    assert heard(tmp_path, [WHO + said(2)], f"{sample}\n{said(3)}") == []


def test_another_process_is_not_the_trainer(tmp_path):
    assert heard(tmp_path, [WHO + said(2)], f"{said(3)}\n", pid=8) == []


def test_without_files_there_is_nothing(tmp_path):
    assert unheard(tmp_path, tmp_path / "train.log", 0) == []
