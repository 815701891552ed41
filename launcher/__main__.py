"""The command line: `python -m launcher VERB …`. `--help` after any verb explains it."""

import argparse
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launcher import (
    bundle,
    command,
    config,
    engine,
    evaluation_verbs,
    evaluations,
    export,
    judge_check,
    memory_report,
    model_shape,
    preflight,
    prepare,
    queue,
    ray_cluster,
    reading,
    report,
    rundir,
    runs,
    store_judge,
)
from launcher.ingest import ingest
from launcher.runs import Runs
from launcher.state import End
from launcher.store import MemoryPoint, Store
from launcher.store_page import GameFilter
from medical_team.config import GameConfig
from medical_team.medec import DataError, fetch_medec
from medical_team.types import Category

WRONG_INPUT, FAILED = 2, 1
WRONG = (
    ValidationError,
    OSError,
    config.SettingError,
    export.NotEmpty,
    model_shape.UnknownShape,
    prepare.NoCases,
    reading.Unreadable,
    rundir.UnknownRun,
    runs.Refused,
    DataError,
)
"""What a user can put right."""


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    with suppress(OSError, sqlite3.Error):  # a full disk keeps the next run waiting, and nobody from being answered
        Runs(rundir.runs_folder()).advance()
    try:
        return asked.verb(asked) or 0
    except WRONG as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return WRONG_INPUT
    except (engine.EngineError, judge_check.CheckFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def explain(error: Exception) -> str:
    """The error in words: a validation error as one line per setting."""
    if not isinstance(error, ValidationError):
        return str(error)
    faults = [
        (".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in error.errors()
    ]
    return "\n  ".join(f"{where}: {what}" if where else what for where, what in faults)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="launcher", description="Second Opinion: launch and watch training runs.")
    verbs = top.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, do, about: str, run_id: bool = False, as_json: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=about, description=about)
        made.set_defaults(verb=do)
        if run_id:
            made.add_argument("id", help="the run's id, as `list` shows it")
        if as_json:
            made.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        return made

    run = verb("run", do_run, "start a run")
    _settings(run)
    run.add_argument("--name", default="", help="what the run is called in lists")
    run.add_argument("--start-anyway", action="store_true", help="start with a judge that its check does not vouch for")
    run.add_argument("--wait", action="store_true", help="stay until the run has ended; fail if it does")
    ahead = verb("preflight", do_preflight, "what stands in the way of a run; start nothing")
    _settings(ahead)
    ahead.add_argument("--start-anyway", action="store_true", help="with a judge that its check does not vouch for")
    check = verb("judge-check", do_judge_check, "ask the judge about notes with known labels; keep the report")
    _settings(check)
    check.add_argument("--pairs", type=Path, metavar="FILE", help="MEDEC file (default: data.path, if it is set)")
    check.add_argument("--each", type=int, default=judge_check.EACH, help="notes of every kind from every source")
    show_command = verb("command", do_command, "print the exact command and environment of a run; start nothing")
    _settings(show_command)
    _memory_verb(verb)
    verb("list", do_list, "list all runs")
    verb("show", do_show, "show one run: state, metrics, rewards, evaluations", run_id=True)
    games = verb("games", do_games, "list the games of a run", run_id=True)
    games.add_argument("--step", type=int)
    games.add_argument("--category", type=Category, choices=list(Category))
    games.add_argument("--mode", choices=("train", "eval"))
    games.add_argument(
        "--search", default="", metavar="TEXT", help="games whose notes, replies or rationale hold these words"
    )
    games.add_argument("--limit", type=int, default=None, help="at most so many (default: 20, with --json all)")
    verb(
        "reviews", do_reviews, "what people made of the notes that the judge labelled, and how they agree", run_id=True
    )
    tail = verb("tail", do_tail, "print the end of what the trainer printed", run_id=True)
    tail.add_argument("--lines", type=int, default=40)
    tail.add_argument("--follow", action="store_true", help="go on until the run has ended")
    stop = verb("stop", do_stop, "stop a run after its next checkpoint", run_id=True)
    stop.add_argument("--now", action="store_true", help="do not wait for the checkpoint")
    resume = verb("resume", do_resume, "start an ended run again from a checkpoint", run_id=True)
    resume.add_argument("--step", type=int, metavar="N", help="the step of its checkpoint (default: the newest)")
    resume.add_argument("--wait", action="store_true")
    line = verb("queue", do_queue, "list the runs that wait for a device; move one, or take it out")
    line.add_argument("id", nargs="?", help="a run that waits")
    line.add_argument("--place", type=int, metavar="N", help="its new place, 1 for the next to start")
    line.add_argument("--withdraw", action="store_true", help="take it out of the queue")
    out = verb("export", do_export, "write a run's metrics, rewards and games to a folder", run_id=True)
    out.add_argument("--out", type=Path, help="a new or empty folder (default: export, in the run's folder)")
    verb("ingest", do_ingest, "bring the index up to date with the files of all runs")
    verb("setup", do_setup, "install the CPU engine and build the demo model, whatever is missing", as_json=False)
    evaluation_verbs.add(verb, say)
    _data_verbs(verbs)
    _engine_verbs(verbs)
    return top


def _settings(verb: argparse.ArgumentParser, required: bool = True) -> None:
    verb.add_argument("--preset", required=required, help=f"one of: {', '.join(config.presets())}")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, e.g. train.steps=3")


def _memory_verb(verb) -> None:
    memory = verb("memory", do_memory, "what a run will hold on a GPU, and what would make it fit; start nothing")
    _settings(memory, required=False)
    memory.add_argument(
        "--gpu-gb", type=float, help="the GPU's memory as it is sold (default: this machine's first GPU)"
    )
    memory.add_argument("--run", metavar="ID", help="plan this run, and beside it what it was measured to hold")


def _data_verbs(verbs) -> None:
    about = "build data sets"
    build = verbs.add_parser("data", help=about, description=about).add_subparsers(required=True, metavar="ACTION")
    build = build.add_parser("build", help="write train.jsonl, eval.jsonl and card.json")
    build.set_defaults(verb=do_data_build)
    build.add_argument("--source", choices=("medec", "demo"), required=True)
    build.add_argument(
        "--path", type=Path, help="MEDEC file, CSV or JSONL; without it the publisher's file is downloaded"
    )
    build.add_argument("--out", type=Path, required=True)
    build.add_argument("--cases", type=int, default=300, help="cases to write for the source demo")
    build.add_argument("--eval-cases", type=int, default=0, help="cases to hold out for evaluation")
    build.add_argument("--error-types", nargs="+", help="kinds of error to select (default: all of the guide's)")
    build.add_argument("--seed", type=int, default=42)
    build.add_argument("--json", action="store_true")


def _engine_verbs(verbs) -> None:
    about = "install or check the training engine"
    actions = verbs.add_parser("engine", help=about, description=about).add_subparsers(required=True, metavar="ACTION")
    made = {}
    for name, do, help in (
        ("install", do_engine_install, "build the engine"),
        ("check", do_engine_check, "see whether it works here"),
        ("bundle", do_engine_bundle, "write what a machine without a network needs to install it"),
    ):
        made[name] = action = actions.add_parser(name, help=help, description=help)
        action.set_defaults(verb=do)
        action.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        action.add_argument("--json", action="store_true")
    made["install"].add_argument(
        "--from", type=Path, dest="bundle", metavar="DIR", help="a bundle, in place of the package index"
    )
    made["bundle"].add_argument("--out", type=Path, required=True, help="a new or empty folder")
    made["bundle"].add_argument("--part-mb", type=int, default=2000, help="size of a part (default: 2000)")


def say(value: Any, asked: argparse.Namespace, text: str | Callable[[], str]) -> None:
    """The answer: one JSON object, or text for people. Either may be given as what makes it."""
    answer = value if asked.json else text
    answer = answer() if callable(answer) else answer
    print(json.dumps(answer, ensure_ascii=False, allow_nan=False) if asked.json else answer)


def resolved(asked: argparse.Namespace) -> config.RunConfig:
    settings = dict(_setting(text) for text in asked.set)
    if name := getattr(asked, "name", ""):
        settings["name"] = name
    if getattr(asked, "start_anyway", False):
        settings["judge.start_anyway"] = True
    return config.resolve(asked.preset, settings)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise config.SettingError(f"--set takes KEY=VALUE, not {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def do_run(asked) -> int:
    here, settings = Runs.here(), resolved(asked)
    problems = preflight.check(settings, here)
    if errors := [preflight.line(one) for one in problems if one.level == "error"]:
        raise runs.Refused("\n  ".join(errors))
    for one in problems:
        print(f"{one.level}: {preflight.line(one)}", file=sys.stderr)
    run = here.create(settings)
    here.start(run)
    if asked.wait:
        return _wait(here, run, asked)
    _say_begun(here, run, asked, "started")
    return 0


def _say_begun(here: Runs, run: rundir.RunDir, asked, how: str) -> None:
    place = queue.place(here.folder, run.id)
    text = f"{how} run {run.id}; `python -m launcher show {run.id}` follows it"
    if place is not None:
        text = f"run {run.id} waits for its device, place {place} in the queue; `python -m launcher queue` lists it"
    say({"id": run.id, "state": "running" if place is None else "queued", "place": place}, asked, text)


def do_preflight(asked) -> int:
    try:
        problems = preflight.check(resolved(asked), Runs.here())
    except ValidationError as error:
        problems = preflight.of_error(error)
    said = [f"{one.level}: {preflight.line(one)}" for one in problems]
    say({"problems": [one._asdict() for one in problems]}, asked, "\n".join(said) or "nothing stands in the way")
    return WRONG_INPUT if any(one.level == "error" for one in problems) else 0


def _wait(here: Runs, run: rundir.RunDir, asked) -> int:
    print(f"run {run.id}", file=sys.stderr)
    now = here.wait(run, report.Progress(sys.stderr))
    with Store(here.store_path) as store:
        ingest(store, run.path)
        say(lambda: report.whole(store, run), asked, lambda: report.summary(store, run))
    return 0 if now.state != End.CRASHED else FAILED


def do_judge_check(asked) -> int:
    here, settings = Runs.here(), resolved(asked)
    found = judge_check.run(settings, here.folder, asked.pairs, asked.each)
    say(lambda: found.model_dump(mode="json"), asked, lambda: judge_check.table(found))
    return 0 if found.trusted else FAILED


def do_command(asked) -> int:
    settings = runs.settled(resolved(asked))
    found = (ray_cluster.client if settings.cluster.ray_address else engine.find)(settings.device)
    if found is None:
        raise runs.Refused(engine.missing(settings.device))
    start = command.Start(settings, rundir.RunDir(rundir.runs_folder() / rundir.new_id(time.time())))
    job = command.build(start, found)
    say({"argv": list(job.argv), "env": dict(job.env), "unset": list(job.unset)}, asked, job.shell())
    return 0


def do_memory(asked) -> int:
    points = _memory_of(asked.run) if asked.run else ()
    try:
        answer = memory_report.answer(_planned(asked), asked.gpu_gb, points)
    except memory_report.NoPlan as error:
        raise runs.Refused(str(error)) from error
    say(answer.json, asked, answer.text)
    return 0


def _planned(asked) -> config.RunConfig:
    """What is to be planned: a run as it was started, or a preset with settings laid over it."""
    if asked.run and (asked.preset or asked.set):
        raise runs.Refused("--run plans the run with its own settings: leave out --preset and --set")
    if asked.run:
        return reading.config_of(rundir.find(rundir.runs_folder(), asked.run))
    if not asked.preset:
        raise runs.Refused("give --preset NAME, or --run ID for a run that there is")
    asked.set.insert(0, "data.path=notes.csv")  # whatever the notes are, they do not count here
    return resolved(asked)


def _memory_of(id: str) -> list[MemoryPoint]:
    here = Runs.here()
    run = rundir.find(here.folder, id)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        return store.memory(run.id)


def do_list(asked) -> int:
    here = Runs.here()
    with Store(here.store_path) as store:
        here.refresh(store)
        found = [report.brief(store, run) for run in rundir.every(here.folder)]
    say({"runs": found}, asked, report.table(found))
    return 0


def do_show(asked) -> int:
    here = Runs.here()
    run = rundir.find(here.folder, asked.id)
    here.look(run)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        say(lambda: report.whole(store, run), asked, lambda: report.summary(store, run))
    return 0


def do_games(asked) -> int:
    here = Runs.here()
    run = rundir.find(here.folder, asked.id)
    limit = asked.limit if asked.limit is not None else (None if asked.json else 20)
    wanted = GameFilter(step=asked.step, category=asked.category, mode=asked.mode, text=asked.search)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        found = report.games(store, run, wanted, limit)
    say({"games": found}, asked, lambda: report.games_table(found))
    return 0


def do_reviews(asked) -> int:
    here = Runs.here()
    run = rundir.find(here.folder, asked.id)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        found = store_judge.reviewed(store, run.id)
    agreed = store_judge.agreement(found)._asdict()
    answer = {"id": run.id, "reviews": [one._asdict() for one in found], "agreement": agreed}
    rows = [("game", "source", "judge", "person", "reviewer"), *((*one[:4], one.reviewer) for one in found)]
    sums = "  ".join(f"{name} {value if value is not None else '-'}" for name, value in agreed.items())
    say(answer, asked, lambda: f"{report.columns(rows)}\n{sums}")
    return 0


def do_tail(asked) -> int:
    here = Runs.here()
    run = rundir.find(here.folder, asked.id)
    log = report.Tail(run)
    lines = log.last(asked.lines)
    say({"id": run.id, "lines": lines}, asked, "\n".join(lines))
    while asked.follow and not asked.json and not here.look(run).ended_already:
        time.sleep(0.5)
        for line in log.new():
            print(line, flush=True)
    return 0


def do_stop(asked) -> int:
    here = Runs.here()
    when = "now" if asked.now else "checkpoint"
    here.stop(asked.id, when)
    text = f"run {asked.id} will stop {'now' if asked.now else 'after its next checkpoint'}"
    say({"id": asked.id, "stop": when}, asked, text)
    return 0


def do_resume(asked) -> int:
    here = Runs.here()
    run = here.resume(asked.id, asked.step)
    if asked.wait:
        return _wait(here, run, asked)
    _say_begun(here, run, asked, "resumed")
    return 0


def do_queue(asked) -> int:
    here = Runs.here()
    if bool(asked.id) != bool(asked.withdraw or asked.place):
        raise runs.Refused("`queue` alone lists; `queue ID` takes --place N or --withdraw")
    if asked.id and asked.withdraw:
        here.withdraw(asked.id)
    elif asked.id:
        here.move(asked.id, asked.place)
    found = [{"place": place} | one._asdict() for place, one in enumerate(queue.waiting(here.folder), 1)]
    say({"queue": found}, asked, lambda: report.queue_table(found))
    return 0


def do_export(asked) -> int:
    here = Runs.here()
    run = rundir.find(here.folder, asked.id)
    with Store(here.store_path) as store:
        ingest(store, run.path)
        files = export.write(store, run, asked.out or run.path / "export")
    say({"id": run.id, "files": [str(file) for file in files]}, asked, "\n".join(map(str, files)))
    return 0


def do_ingest(asked) -> int:
    here = Runs.here()
    with Store(here.store_path) as store:
        counts = {run.id: report.counts(ingest(store, run.path)) for run in rundir.every(here.folder)}
        evaluation_verbs.complain(evaluations.refresh(here, store))
    say({"runs": counts}, asked, f"read the files of {len(counts)} runs")
    return 0


def do_setup(asked) -> int:
    runs.setup(lambda line: print(line, flush=True))
    return 0


def do_data_build(asked) -> int:
    game = GameConfig() if asked.error_types is None else GameConfig(error_types=asked.error_types)
    path = asked.path
    if asked.source == "medec" and path is None:
        path = asked.out.with_suffix(".csv")
        fetch_medec(path)
    card = prepare.for_sharing(asked.source, path, asked.cases, asked.eval_cases, game, asked.seed, asked.out)
    counts = {category.value: sum(kinds.values()) for category, kinds in card.train.categories.items()}
    text = f"{asked.out}: {card.train.rows} training rows {counts}, {card.eval.rows} evaluation rows\n{card.licence}"
    say(card.model_dump(mode="json"), asked, text)
    return 0


def do_engine_install(asked) -> int:
    stream = sys.stderr if asked.json else sys.stdout
    wheels = engine.ROOT / ".engine" / f"{asked.device}-packages" if asked.bundle else None
    if wheels:
        bundle.unpack(asked.bundle, asked.device, wheels)
    made = engine.install(asked.device, lambda line: print(line, file=stream, flush=True), wheels=wheels)
    if wheels:
        shutil.rmtree(wheels)
    say({"python": str(made.python)}, asked, f"engine: {made.python}")
    return 0


def do_engine_bundle(asked) -> int:
    if asked.part_mb < 1:
        raise runs.Refused("--part-mb is a number of megabytes, at least 1")
    stream = sys.stderr if asked.json else sys.stdout
    made = bundle.write(asked.device, asked.out, asked.part_mb, lambda line: print(line, file=stream, flush=True))
    size = sum(part.size for part in made.parts)
    text = f"{len(made.parts)} parts, {size / 1e9:.2f} GB, in {asked.out}; there: engine install --from {asked.out}"
    say(made.model_dump(mode="json"), asked, text)
    return 0


def do_engine_check(asked) -> int:
    found = engine.find(asked.device)
    problems = engine.check(asked.device)
    answer = {"python": str(found.python) if found else None, "problems": problems}
    say(answer, asked, "\n".join(problems) or f"{found.python if found else None}: ok")
    return FAILED if problems else 0


if __name__ == "__main__":
    sys.exit(main())
