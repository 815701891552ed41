"""One run as one HTML file: settings, curves, evaluations, sample games, and where its notes come from.

The file holds no script and asks for nothing from the network; its policy forbids both, whatever a note says.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from launcher import library, state, store_charts, store_page, svg
from launcher.markup import Child, Markup, join, table, tag
from launcher.reading import Unreadable, reading, settings
from launcher.rundir import RunDir, read_json
from launcher.settings import leaves
from launcher.store import Store
from launcher.store_games import Outcome
from launcher.store_page import GameFilter, LostGame
from launcher.svg import Curve
from medical_team.records import GameRecord
from medical_team.types import Category, Role

SAMPLES = 2
"""Games shown of every outcome."""
LONGEST = 20_000
"""Characters shown of one text; the export has the games whole."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font-size: 1rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { text-align: left; padding: 2px 10px 2px 0; vertical-align: top; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; }
figure { margin: 1rem 0; max-width: 44rem; } figcaption { font-weight: 600; } figure svg { width: 100%; height: auto; }
figure ul { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 0; }
figure li svg { width: 28px; height: 10px; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; border: 1px solid #8886; padding: 6px 8px; }
article { border-top: 1px solid #8886; padding: 8px 0; }
"""


def write(store: Store, run: RunDir, out: Path) -> Path:
    """Writes the report to the file `out`, replaced in one go."""
    part = out.with_name(f".{out.name}.part")
    part.write_text(whole(store, run), encoding="utf-8")
    return part.replace(out)


def whole(store: Store, run: RunDir) -> str:
    """The report as one HTML document."""
    name = store.run(run.id).name
    head = tag(
        "head", Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width">'),
        Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(POLICY),
        tag("title", f"Run {run.id}"), tag("style", Markup(STYLE)),
    )  # fmt: skip
    body = tag(
        "body", tag("h1", "Run ", tag("bdi", name or run.id)), *_outcome(run), *_notes(run),
        tag("h2", "Curves"), *_curves(store, run.id), tag("h2", "Evaluations"), _evaluations(store, run.id),
        tag("h2", "Sample games"), *_games(store, run.id), tag("h2", "Settings"), _settings(run),
        tag("h2", "Where the notes come from"), _data(run),
    )  # fmt: skip
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _outcome(run: RunDir) -> Iterator[Markup]:
    try:
        now = state.read(run)
    except Unreadable as error:
        yield tag("p", str(error))
        return
    if now is None:
        yield tag("p", "Created, not started.")
        return
    took = (now.ended or time.time()) - now.started
    cells = [
        ["run", run.id], ["state", now.state], ["steps", f"{now.step} of {now.steps}"], ["reason", now.reason or "-"],
        ["started", _moment(now.started)], ["took", f"{took / 60:.1f} min"], ["starts", str(now.attempt)],
    ]  # fmt: skip
    yield table(("what", "value"), cells)


def _notes(run: RunDir) -> Iterator[Markup]:
    try:
        with reading(library.notes_file(run)):
            written = library.notes(run)
    except Unreadable as error:
        yield tag("p", str(error))
        return
    if written.tags:
        yield tag("p", "Tags: ", join(*(tag("bdi", f"{one} ") for one in written.tags)))
    if written.notes:
        yield _text(written.notes)


def _curves(store: Store, run: str) -> Iterator[Markup]:
    yield svg.chart("Mean raw reward by role", [_rewards(store, run, role) for role in Role])
    yield svg.chart(
        "Assessor's mean raw reward by category",
        [_rewards(store, run, Role.ASSESSOR, category.value) for category in Category],
    )
    rates = store_charts.rates(store, run)
    shares = ("correct", "faithful", "deceived", "ties")
    yield svg.chart(
        "Shares of games: correct, faithful, deceived, ties",
        [Curve(name, [(one.step, value) for one in rates if (value := getattr(one, name)) is not None])
         for name in shares],
    )  # fmt: skip
    yield svg.chart("KL against the start model", [Curve("kl", store.series(run, "kl"))])


def _rewards(store: Store, run: str, role: Role, category: str = "") -> Curve:
    points = store_charts.rewards(store, run, role, category)
    return Curve(category or role.value, [(point.step, point.mean_reward) for point in points])


def _evaluations(store: Store, run: str) -> Markup:
    points = store.evals(run)
    if not points:
        return tag("p", "None.")
    names = sorted({point.name for point in points})
    steps: dict[int, dict[str, float]] = {}
    for point in points:
        steps.setdefault(point.step, {})[point.name] = point.value
    rows = [[str(step), *(_number(found.get(name)) for name in names)] for step, found in sorted(steps.items())]
    return table(("step", *(name.removeprefix("eval_") for name in names)), rows)


def _games(store: Store, run: str) -> Iterator[Markup]:
    """The newest games of every outcome."""
    none = True
    for outcome in Outcome:
        for row in store_page.page(store, run, GameFilter(outcome=outcome), limit=SAMPLES).games:
            none = False
            yield _game(store, run, row.game, outcome)
    if none:
        yield tag("p", "None yet.")


def _game(store: Store, run: str, game: str, outcome: Outcome) -> Markup:
    try:
        return _played(store_page.read(store, run, game), outcome)
    except LostGame as error:
        return tag("p", str(error))


def _played(record: GameRecord, outcome: Outcome) -> Markup:
    facts = f"{outcome} · step {record.step} · {record.mode} · {record.category} · truth {record.truth or 'none'}"
    verdict = record.verdict
    said = None
    if verdict:
        said = join(
            tag("p", f"Verdict: {verdict.label or 'none'} ({verdict.source}: {verdict.reason}) by ", verdict.judge),
            _text(verdict.rationale) if verdict.rationale else None,
        )
    turns = (join(tag("p", f"{turn.role}, raw reward {turn.raw_reward:.3f}"), _text(turn.raw)) for turn in record.turns)
    return tag(
        "article", tag("h3", "Game ", tag("bdi", record.game)), tag("p", facts),
        tag("p", "Started from"), _text(record.seed_note), tag("p", "The assessor read"), _text(record.note),
        *turns, said,
    )  # fmt: skip


def _settings(run: RunDir) -> Markup:
    try:
        flat = dict(leaves(settings(run)))
    except Unreadable as error:
        return tag("p", str(error))
    return table(("setting", "value"), [[key, json.dumps(value, ensure_ascii=False)] for key, value in flat.items()])


def _data(run: RunDir) -> Markup:
    card = run.data / "card.json"
    if not card.exists():
        return tag("p", "This run has no data card.")
    try:
        with reading(card):
            said = read_json(card)
            if not isinstance(said, dict):
                raise ValueError("it is no data card")
    except Unreadable as error:
        return tag("p", str(error))
    return table(("what", "value"), [[key, str(said[key])] for key in ("source", "licence", "citation") if key in said])


def _text(text: str) -> Child:
    more = len(text) - LONGEST
    return tag("div", text[:LONGEST], f" … {more:,} more characters" if more > 0 else "", class_="text", dir="auto")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
