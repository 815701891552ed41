"""The command line's verbs for evaluations: `evaluate` and `evaluations`."""

import argparse
import sys
import typing
from collections.abc import Callable, Iterable

from launcher import evaluation_result, evaluation_work, evaluations, report, store_evaluations
from launcher.config import SettingError
from launcher.evaluations import Request
from launcher.reading import Unreadable
from launcher.runs import Runs
from launcher.store import Store
from launcher.store_evaluations import EvaluationRow
from medical_team.evaluation import How, Progress, sets
from medical_team.evaluation.intervals import Interval

FAILED = 1


def add(verb: Callable[..., argparse.ArgumentParser], say: Callable) -> None:
    """`verb` makes a verb's parser, `say` prints an answer; both are the command line's own."""
    evaluate = verb("evaluate", lambda asked: do_evaluate(asked, say), "evaluate models on notes with known labels")
    evaluate.add_argument("models", nargs="*", metavar="MODEL", help=_help("models"))
    evaluate.add_argument("--data", help=_help("data"))
    evaluate.add_argument("--view", choices=typing.get_args(sets.View), help=_help("view"))
    evaluate.add_argument("--how", nargs="+", choices=list(How), help=_help("how"))
    evaluate.add_argument("--attack", action="store_true", default=None, help=_help("attack"))
    evaluate.add_argument("--keep-seen", action="store_true", default=None, help=_help("keep_seen"))
    evaluate.add_argument("--device", choices=("cpu", "cuda"), help=_help("device"))
    evaluate.add_argument("--style", choices=("full", "short"), help=_help("style"))
    evaluate.add_argument("--judge-from", metavar="ID", help=_help("judge_from"))
    evaluate.add_argument(
        "--judge", nargs="+", metavar="KEY=VALUE", help="settings of a judge of its own, as kind=local"
    )
    for name, kind in (
        ("cases", int),
        ("temperature", float),
        ("top_p", float),
        ("most_tokens", int),
        ("gpu_share", float),
        ("seed", int),
    ):
        evaluate.add_argument(f"--{name.replace('_', '-')}", type=kind, help=_help(name))
    evaluate.add_argument("--work", metavar="ID", help=argparse.SUPPRESS)
    shown = verb("evaluations", lambda asked: do_evaluations(asked, say), "list the evaluations, or show one")
    shown.add_argument("id", nargs="?", help="the evaluation's id: shows its tables")
    shown.add_argument("--stop", action="store_true", help="stop it")
    shown.add_argument("--measure", help="one measure across all evaluations, such as accuracy or self-BLEU")


def _help(name: str) -> str:
    return (Request.model_fields[name].description or "").replace("%", "%%")


def request_of(asked: argparse.Namespace) -> Request:
    given = {name: getattr(asked, name, None) for name in Request.model_fields}
    given["judge"] = dict(map(_setting, asked.judge)) if asked.judge else None
    return Request(**{name: value for name, value in given.items() if value not in (None, [])})


def _setting(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise SettingError(f"--judge takes KEY=VALUE, not {word!r}")
    return key, value


def do_evaluate(asked, say) -> int:
    here = Runs.here()
    one = evaluations.find(here, asked.work) if asked.work else evaluations.create(here, request_of(asked))
    print(f"evaluation {one.id}", file=sys.stderr)
    done = evaluation_work.work(here, one, Told())
    if done.state != "done":
        print(f"error: {done.reason}", file=sys.stderr)
        return FAILED
    say(lambda: _answer(one), asked, lambda: _text(one))
    return 0


class Told:
    """Prints progress, a line for each thing that is done."""

    def __init__(self):
        self._last = ""

    def __call__(self, now: Progress) -> None:
        if now.doing != self._last:
            self._last = now.doing
            print(f"{now.done} of {now.of} replies; {now.doing}", file=sys.stderr, flush=True)


def do_evaluations(asked, say) -> int:
    here = Runs.here()
    if asked.measure:
        with Store(here.store_path) as store:
            complain(evaluations.refresh(here, store))
            found = store_evaluations.of_measure(store, asked.measure)
        say({"rows": [row._asdict() for row in found]}, asked,
            lambda: report.columns([ACROSS, *(across(row) for row in found)]))  # fmt: skip
        return 0
    if asked.id is None:
        found = list(map(brief, evaluations.every(here)))
        rows = [(*list(one.values())[:3], " ".join(one["models"]), one["reason"] or "") for one in found]
        say(
            {"evaluations": found}, asked, lambda: report.columns([("id", "state", "notes", "models", "reason"), *rows])
        )
        return 0
    one = evaluations.find(here, asked.id)
    if asked.stop:
        evaluations.stop(one)
        say({"id": one.id, "stop": True}, asked, f"evaluation {one.id} will stop")
        return 0
    with Store(here.store_path) as store:
        complain(evaluations.refresh(here, store))
    say(lambda: _answer(one), asked, lambda: _text(one))
    return 0


def brief(one: evaluations.EvalDir) -> dict:
    """What a list shows of an evaluation; of a damaged one, why it cannot be read."""
    try:
        now, told = evaluations.look(one), evaluations.about(one)
    except Unreadable as error:
        return {"id": one.id, "state": "unreadable", "notes": "", "models": [], "reason": str(error)}
    return {
        "id": one.id, "state": now.state, "notes": told.notes, "models": list(told.request.models), "reason": now.reason,
    }  # fmt: skip


def complain(problems: Iterable[str]) -> None:
    """Says what had to be left out."""
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)


ACROSS = ("evaluation", "notes", "model", "role", "replies", "value [95 %]", "of")


def across(row: EvaluationRow) -> tuple[str, ...]:
    """A line of one measure across evaluations."""
    interval = Interval(row.low, row.high) if row.low is not None else None
    value = evaluation_result.number(row.value, interval)
    return (
        row.evaluation,
        row.notes,
        row.player,
        row.role,
        row.how or "-",
        value,
        "-" if row.of is None else str(row.of),
    )


def _answer(one: evaluations.EvalDir) -> dict:
    found = evaluations.result(one)
    return {
        "id": one.id, "folder": str(one.path), "state": evaluations.look(one).model_dump(mode="json"),
        "about": evaluations.about(one).model_dump(mode="json"),
        "result": found.model_dump(mode="json") if found else None,
    }  # fmt: skip


def _text(one: evaluations.EvalDir) -> str:
    found, told = evaluations.result(one), evaluations.about(one)
    if found is None:
        now, far = evaluations.look(one), evaluations.progress(one)
        done = f", {far.done} of {far.of} replies; {far.doing}" if far else ""
        return f"evaluation {one.id}: {now.state}{f' ({now.reason})' if now.reason else ''}{done}"
    return f"{evaluation_result.markdown(found, told.source, told.text)}\n{one.path}"
