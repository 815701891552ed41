"""One game as HTML: its notes with what was changed in them, what each seat wrote and earned, and what the judge said."""

from urllib.parse import quote

from app import diff
from app.text import block, compared, duration, moment, number
from launcher.config import RunConfig
from launcher.markup import Child, Markup, join, table, tag
from launcher.reading import Unreadable
from launcher.store_games import outcome
from medical_team.records import GameRecord, TurnRecord, VerdictRecord
from medical_team.types import Role


def link(run: str, game: str) -> str:
    """Where this game opens; the address of the page comes before it."""
    return f"?run={quote(run, safe='')}&tab=games&game={quote(game, safe='')}"


def whole(record: GameRecord, config: RunConfig | Unreadable, person: tuple[str | None] | None = None) -> Markup:
    """All of the game but what is too long for a page; `config` is the run's, or why it is not known.

    `person` is the label of its last review, if it has one.
    """
    return tag(
        "article", tag("h2", "One game", class_="so-hidden"), _head(record), _notes(record),
        *(_turn(turn) for turn in record.turns),
        _verdict("Verdict on the note that the assessor read", record.verdict),
        _section("Review", tag("p", f"A person labelled this note {person[0] or 'unsure'}.")) if person else None,
        _verdict("Verdict on the attacker's note, which was refused", record.attack_verdict),
        _sampling(record, config), class_="one-game", data_game=quote(record.game),
    )  # fmt: skip


def missing(why: str) -> Markup:
    return tag("p", why, class_="empty", role="status")


def _head(record: GameRecord) -> Markup:
    facts = (
        ("outcome", chip(outcome(record))), ("truth", record.truth or "none"), ("step", str(record.step)),
        ("mode", record.mode), ("category", record.category), ("error type", record.error_type),
        ("sample", record.sample), ("case", record.case), ("opponent", record.opponent),
        ("start of the run", str(record.attempt)), ("played", moment(record.started)),
        ("took", duration(record.ended - record.started)), ("dropped because", record.drop_reason),
    )  # fmt: skip
    heading = tag("h3", "Game ", tag("bdi", record.game))
    save = tag("button", "Download record", type="button", data_run=record.run, data_save=quote(record.game))
    here = tag("a", "Link to this game", href=link(record.run, record.game))
    return tag("header", heading, _facts(facts), tag("p", here, " ", save, tag("span", role="alert"), class_="actions"))


def _notes(record: GameRecord) -> Markup:
    attacker = next((turn for turn in record.turns if turn.role is Role.ATTACKER), None)
    if record.note == record.seed_note:
        read = _section("Note", tag("p", "The assessor read the note that the game started from."), block(record.note))
    else:
        read = _section("Note", _pair("Started from", record.seed_note, "The assessor read", record.note))
    refused = None
    if attacker and attacker.answer is not None and attacker.answer.strip() != record.note.strip():
        refused = _section(
            "Refused note", _pair("Started from", record.seed_note, "The attacker wrote", attacker.answer)
        )
    clean = tag(
        "details", tag("summary", "Against the clean note"),
        _pair("Clean note", record.clean_note, "The assessor read", record.note),
    )  # fmt: skip
    return join(read, refused, clean)


def _pair(left: str, before: str, right: str, after: str) -> Markup:
    """Two notes side by side; what stands in one alone is marked."""
    found = diff.words(before, after)
    return tag(
        "div",
        tag("div", tag("h5", left), compared(found.before, "del")),
        tag("div", tag("h5", right), compared(found.after, "ins")),
        class_="pair",
    )


def _turn(turn: TurnRecord) -> Markup:
    facts = (
        ("format", "kept" if turn.format_ok else turn.format_reason), ("correct", _said(turn.correct)),
        ("tokens", number(turn.tokens, 0)), ("cut off", _said(turn.truncated)),
        ("latency", "-" if turn.latency_ms is None else f"{turn.latency_ms:.0f} ms"),
        ("trained", _said(turn.trained)),
    )  # fmt: skip
    return _section(
        f"Seat {turn.seat}: {turn.role}", _facts(facts),
        tag("h5", "Thinking"), block(turn.thinking), tag("h5", "Answer"), block(turn.answer),
        _folded("Reply as the model wrote it", turn.raw), _folded("Prompt", turn.prompt), _rewards(turn),
    )  # fmt: skip


def _rewards(turn: TurnRecord) -> Markup:
    parts = [[name, number(value)] for name, value in turn.rewards.items()]
    sums = [["raw sum", number(turn.raw_reward)], ["baseline", number(turn.baseline)],
            ["sent to the trainer", number(turn.sent_reward)]]  # fmt: skip
    return table(("reward", "points"), parts + [[tag("strong", name), value] for name, value in sums], "rewards")


def _verdict(title: str, verdict: VerdictRecord | None) -> Markup | None:
    if verdict is None:
        return None
    facts = (
        ("label", verdict.label or "none"), ("reason", verdict.reason), ("source", verdict.source),
        ("judge", verdict.judge), ("P(harmful)", number(verdict.p_harm)), ("faithful", _said(verdict.faithful)),
        ("same meaning as clean", _said(verdict.same_meaning)), ("realistic", _said(verdict.realistic)),
        ("P(realistic)", number(verdict.p_realistic)), ("latency", f"{verdict.latency_ms:.1f} ms"),
    )  # fmt: skip
    said = [_folded("Judge's raw output", verdict.raw)] if verdict.raw else []
    return _section(title, _facts(facts), tag("h5", "Rationale"), block(verdict.rationale), *said)


def _sampling(record: GameRecord, config: RunConfig | Unreadable) -> Markup:
    """How the replies were sampled, as the run's settings say."""
    if isinstance(config, Unreadable):
        return _section("Sampling", tag("p", str(config), class_="empty"))
    temperature = config.eval.temperature if record.mode == "eval" else config.rollout.temperature
    facts = (
        ("temperature", str(temperature)), ("top_p", str(config.rollout.top_p)),
        ("most new tokens", str(config.rollout.max_new_tokens)), ("seed", str(config.seed)), ("policy", config.policy),
    )  # fmt: skip
    return _section("Sampling", _facts(facts))


def _section(title: str, *children: Child) -> Markup:
    return tag("section", tag("h4", title), *children)


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), block(text))


def _facts(facts: tuple[tuple[str, Child], ...]) -> Markup:
    said = (tag("div", tag("dt", name), tag("dd", tag("bdi", value))) for name, value in facts if value is not None)
    return tag("dl", *said, class_="facts")


def chip(word: str) -> Markup:
    """A word that colours tell too."""
    return tag("span", word, class_="chip", data_word=word)


def _said(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[value]
