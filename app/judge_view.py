"""The page Judge as HTML: verdicts against answers, rates, probes, the judge check, and one note to review."""

from collections.abc import Sequence
from itertools import groupby

from app import diff
from app.text import block, compared, moment
from launcher import judge_check
from launcher.markup import Child, Markup, join, table, tag
from launcher.reading import Unreadable
from launcher.store_judge import Agreement, Cell
from launcher.store_probes import ProbeCount
from launcher.store_truth import ASKED, NONE, NOT_ASKED, Known
from medical_team.judge.report import Report
from medical_team.records import GameRecord
from medical_team.types import Label

LABELS = (Label.HARMFUL, Label.SAFE, None)
PROBE_HEADS = ("probe", "should be", "Harmful", "Safe", "no label")
ANSWERS = (Label.HARMFUL, Label.SAFE, NONE)


def share(part: int | float | None, whole: int | None = None) -> str:
    """A rate in percent with what it was counted from; a dash where there is nothing to divide by."""
    if part is None or whole == 0:
        return "–"
    return f"{part:.1%}" if whole is None else f"{part / whole:.1%} ({part} of {whole})"


def matrices(cells: Sequence[Cell]) -> Markup:
    """One matrix for every source of verdicts; a cell opens its games."""
    if not cells:
        return tag("p", "No game has a verdict yet. The matrix fills with the first step.", class_="empty")
    by_source = groupby(cells, key=lambda cell: cell.source)
    return tag("div", *(_matrix(source, list(found)) for source, found in by_source), class_="so-matrices")


def truths(found: Sequence[Known]) -> Markup:
    """The same against what the notes are known to be: a matrix for harmful ones, for harmless ones, and for the rest."""
    said = tag(
        "p", "A note is known by the data set's label, or by a person's last review; what a judge says is no knowledge. "
        "Every play of a training game counts, ties too."
    )  # fmt: skip
    names = {Label.HARMFUL: "Known to be harmful", Label.SAFE: "Known to be harmless", NONE: "Not known"}
    drawn = (_truth(known, name, [one for one in found if one.known == known]) for known, name in names.items())
    return join(said, tag("div", *drawn, class_="so-matrices"))


def _truth(known: str, name: str, cells: list[Known]) -> Markup | None:
    if not cells:
        return None
    games = {(one.judged, one.answer): one.games for one in cells}
    judged = [one for one in (*ANSWERS, NOT_ASKED) if any(one == said for said, _ in games)]
    rows = [
        [tag("strong", f"judge: {said}"),
         *(_known_cell(Known(known, said, answer, games.get((said, answer), 0))) for answer in ANSWERS)]
        for said in judged
    ]  # fmt: skip
    heads = ("verdict", *(f"assessor: {answer}" for answer in ANSWERS))
    facts = [("judge wrong", _wrong(cells, known, "judged")), ("assessor wrong", _wrong(cells, known, "answer"))]
    return tag("section", tag("h3", name), table(heads, rows, "so-matrix"), _facts(facts) if known != NONE else None)


def _known_cell(cell: Known) -> Child:
    if not cell.games:
        return "0"
    said = f"{cell.games} games known to be {cell.known}: judge {cell.judged}, assessor {cell.answer}; open them"
    return tag(
        "button", str(cell.games), type="button", data_known=cell.known, data_judged=cell.judged,
        data_answer=cell.answer, aria_label=said,
    )  # fmt: skip


def _wrong(cells: Sequence[Known], known: str, who: str) -> str:
    """Of the labels that it gave."""
    labelled = [one for one in cells if getattr(one, who) in tuple(Label)]
    return share(sum(one.games for one in labelled if getattr(one, who) != known), sum(one.games for one in labelled))


def _matrix(source: str, cells: list[Cell]) -> Markup:
    counts = {(cell.label, cell.answer): cell.games for cell in cells}
    who = "the judge says" if source in ASKED else "known to be"
    heads = (who, *(f"assessor: {answer or NONE}" for answer in LABELS))
    rows = []
    for label in LABELS:
        opened = (_cell(source, label, answer, counts.get((label, answer), 0)) for answer in LABELS)
        rows.append([tag("strong", label or "no label"), *opened])
    facts = [
        ("assessor misses", _rate(counts, Label.HARMFUL, Label.SAFE)),
        ("assessor over-flags", _rate(counts, Label.SAFE, Label.HARMFUL)),
    ]
    if source in ASKED:
        unlabelled = sum(games for (label, _), games in counts.items() if label is None)
        facts.append(("judge gives no label", share(unlabelled, sum(counts.values()))))
    return tag("section", tag("h3", f"Verdicts by {source}"), table(heads, rows, "so-matrix"), _facts(facts))


def _cell(source: str, label: Label | None, answer: Label | None, games: int) -> Child:
    if not games:
        return "0"
    said = f"{games} games by {source}: verdict {label or NONE}, assessor {answer or NONE}"
    return tag(
        "button", str(games), type="button", data_source=source, data_label=label or NONE, data_answer=answer or NONE,
        aria_label=f"{said}; open them",
    )  # fmt: skip


def _rate(counts: dict, label: Label, answer: Label) -> str:
    """Among the readable answers on notes of this label."""
    answered = sum(counts.get((label, said), 0) for said in Label)
    return share(counts.get((label, answer), 0), answered)


def agreement(found: Agreement) -> Markup:
    kappa = "–" if found.kappa is None else f"{found.kappa:.3f}"
    return _facts([
        ("notes that judge and people labelled", str(found.both)), ("agreement", share(found.share)),
        ("Cohen's kappa", kappa), ("judge misses", share(found.misses)), ("judge over-flags", share(found.over_flags)),
    ])  # fmt: skip


def check(judge: str | None, found: Report | Unreadable | None, again: str | None) -> Markup:
    """The last judge check of the judge that this run asks, and the command that makes another."""
    if judge is None:
        return tag("p", "No judge was asked yet.", class_="empty")
    command = again and join(tag("p", "To check it, in the project's folder:"), block(again))
    if isinstance(found, Unreadable):
        return join(tag("p", str(found), role="alert"), command)
    if found is None:
        none = tag("p", "No report of a judge check of ", tag("bdi", judge), " is kept.", class_="empty")
        return join(none, command)
    rows = [[row.kind, row.expected, str(row.harmful), str(row.safe), str(row.unlabelled)] for row in found.confusion]
    return join(
        tag("p", tag("bdi", found.judge), f", {moment(found.made)}: {judge_check.summary(found)}. ",
            "It is within the bounds." if found.trusted else "It is not within the bounds: do not believe it unseen."),
        table(PROBE_HEADS, rows),
        command,
    )  # fmt: skip


def probes(found: Sequence[ProbeCount]) -> Markup:
    """What the judge said during the run of notes whose label is known, by what was done to them."""
    if not found:
        return tag("p", "No probe yet. A judge with a model gets one in some of the games.", class_="empty")
    counts = {(one.kind, one.label): one.count for one in found}
    rows = [
        [kind, expected, *(str(counts.get((kind, label), 0)) for label in LABELS)]
        for kind, expected in sorted({(one.kind, one.expected) for one in found})
    ]
    return table(PROBE_HEADS, rows)


def note(record: GameRecord, person: tuple[str | None] | None, shown: bool) -> Markup:
    """The note to review against its clean reference; the verdict once it may be seen."""
    found = diff.words(record.clean_note, record.note)
    verdict = record.verdict
    said: Child = tag("p", "The verdict is shown once you have labelled the note.", class_="empty")
    if verdict and (shown or person):
        label = verdict.label or "no label"
        said = join(
            tag("p", tag("strong", f"Judge: {label}"), f" ({verdict.source}: {verdict.reason})"),
            block(verdict.rationale),
        )
    yours = tag("p", tag("strong", f"You: {person[0] or 'unsure'}")) if person else None
    return tag(
        "article", tag("h3", "Game ", tag("bdi", record.game)),
        tag(
            "div",
            tag("div", tag("h4", "Clean note"), compared(found.before, "del")),
            tag("div", tag("h4", "Note to label"), compared(found.after, "ins")),
            class_="pair",
        ),
        yours, said, class_="one-game",
    )  # fmt: skip


def _facts(facts: Sequence[tuple[str, str]]) -> Markup:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")
