"""Settings from an old script: the guide's flags, or today's, translated one by one or named with what to do.

The script is read as text and never run.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from launcher import settings
from launcher.legacy_flags import ENVIRONMENT, NEVER, NO_SETTING, OWN_ENVIRONMENT, SWITCHES, VALUES
from launcher.shell_script import Command, LegacyError, Script, Word
from launcher.shell_script import read as read_script

__all__ = ["Imported", "LegacyError", "Named", "Translated", "read"]

MODULE = "openrlhf.cli.train_ppo_ray"
PROMPT_TOKENS = GENERATED_TOKENS = "1024"
"""What the guide's OpenRLHF took where a script gave only one of the two lengths."""


class Translated(NamedTuple):
    flag: str
    setting: str
    value: Any
    why: str = ""
    """Where the value is not the flag's own."""


class Named(NamedTuple):
    """A flag that fills in nothing."""

    flag: str
    what_to_do: str


@dataclass(frozen=True)
class Imported:
    translated: tuple[Translated, ...]
    named: tuple[Named, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """Dotted keys to JSON values, for `launcher.config.resolve` or the form."""
        return {one.setting: one.value for one in self.translated}


@dataclass
class _Import:
    """A script's flags, and what has become of them so far."""

    given: dict[str, list[Word]]
    environment: Mapping[str, Word]
    translated: list[Translated] = field(default_factory=list)
    named: list[Named] = field(default_factory=list)

    def take(self, *flags: str) -> Iterator[tuple[str, Word | None]]:
        """Those of `flags` that were given, with their last value, None for a bare switch. None is given twice."""
        for flag in flags:
            if flag in self.given:
                values = self.given.pop(flag)
                yield flag, values[-1] if values else None

    def set(self, flag: str, setting: str, word: Word | None, why: str = "") -> None:
        """Translates a value, or names it with the reason why it cannot be."""
        if word is None:
            self.name(flag, f"it has no value; set {setting} by hand")
        elif word.unknown:
            unknown = ", ".join(word.unknown)[:80]
            self.name(flag, f"only running the script tells its value ({unknown}); set {setting} by hand")
        else:
            try:
                self.translated.append(Translated(flag, setting, settings.parse(setting, word.text), why))
            except ValidationError as error:
                why_not = error.errors()[0]["msg"]
                self.name(flag, f"{word.text[:80]!r} does not fit {setting} ({why_not}); set it by hand")

    def name(self, flag: str, what_to_do: str) -> None:
        self.named.append(Named(flag, what_to_do))

    def setting(self, key: str) -> Any:
        return next((one.value for one in self.translated if one.setting == key), None)


def read(script: str) -> Imported:
    """What the script's training command asks for. Errors: LegacyError, with what to do."""
    found = read_script(script)
    command, after = _training(found)
    start = next(place for place, word in enumerate(command.words) if word.text == MODULE)
    work = _Import({}, command.environment | _environment(command.words[:start]))
    for flag, values in _flags(command.words[start + 1 :]):
        work.given[flag] = values
    for step in STEPS:
        step(work)
    _name_what_was_not_read(work, found, after)
    return Imported(tuple(work.translated), tuple(work.named))


def _training(script: Script) -> tuple[Command, list[Command]]:
    """The training command, and the commands after it."""
    places = [
        place for place, command in enumerate(script.commands) if any(word.text == MODULE for word in command.words)
    ]
    if not places:
        raise LegacyError(f"there is no command with {MODULE} in the script; paste the script that starts the training")
    if len(places) > 1:
        lines = ", ".join(str(script.commands[place].line) for place in places)
        raise LegacyError(f"the script starts training {len(places)} times, on lines {lines}; leave one of them")
    return script.commands[places[0]], script.commands[places[0] + 1 :]


def _environment(words: Iterable[Word]) -> dict[str, Word]:
    """The variables of `env NAME=value … command`."""
    pairs = ((word, *word.text.partition("=")) for word in words)
    return {name: Word(value, word.unknown) for word, name, equals, value in pairs if equals and name.isidentifier()}


def _flags(words: Iterable[Word]) -> Iterator[tuple[str, list[Word]]]:
    """Flags with their values, from `--flag value` and `--flag=value`. Values before the first flag have the flag ""."""
    flag, values = "", []
    for word in words:
        if word.text.startswith("--"):
            if flag or values:
                yield flag, values
            flag, equals, value = word.text.partition("=")
            values = [Word(value, word.unknown)] if equals else []
        else:
            values.append(word)
    if flag or values:
        yield flag, values


def _device(work: _Import) -> None:
    accelerator = work.environment.get("DS_ACCELERATOR", Word(""))
    device = "cpu" if accelerator.text == "cpu" else "cuda"
    work.set(MODULE, "device", Word(device), "" if device == "cpu" else "nothing in the script asks for a CPU")


def _policy(work: _Import) -> None:
    for flag, word in work.take("--pretrain"):
        work.set(flag, "policy", word)
        work.set(flag, "prompt_style", Word("full"), "a general chat model was never taught the short prompts")


def _custom_configs(work: _Import) -> None:
    given = list(work.take("--custom_configs"))
    if "CUSTOM_CONFIGS" in work.environment and not given:
        given = [("CUSTOM_CONFIGS", work.environment["CUSTOM_CONFIGS"])]
    for flag, word in given:
        if word is None or word.unknown:
            work.set(flag, "custom_configs.max_turns", word)
            continue
        try:
            values = json.loads(word.text)
        except (ValueError, RecursionError) as error:
            work.name(flag, f"its value is no JSON ({error}); set custom_configs by hand")
            continue
        if not isinstance(values, dict):
            work.name(flag, "its value is no JSON object; set custom_configs by hand")
            continue
        for key, value in _leaves(values):
            _custom_config(work, flag, key, value)


def _leaves(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a CUSTOM_CONFIGS object; `reward_coeff_config` holds settings of its own."""
    inner = values.get("reward_coeff_config")
    coefficients = inner if isinstance(inner, dict) else {}
    yield from ((key, value) for key, value in values.items() if value is not inner or not isinstance(inner, dict))
    yield from ((f"reward_coeff_config.{key}", value) for key, value in coefficients.items())


def _custom_config(work: _Import, flag: str, key: str, value: Any) -> None:
    known = [name.removeprefix("custom_configs.") for name in settings.FIELDS if name.startswith("custom_configs.")]
    if key in known:
        work.set(flag, f"custom_configs.{key}", Word(json.dumps(value)))
    else:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
        work.name(flag, f"it has no key {key[:80]!r}; the nearest is {near}")


def _mode(work: _Import) -> None:
    for flag, _ in work.take("--train.agent_func_path", "--agent_func_path"):
        work.set(flag, "mode", Word("self_play"), "games are played by this project's own agent")
    for flag, _ in work.take("--reward.remote_url"):
        work.set(flag, "mode", Word("assessor_only"), "rewards come from medical_team/local_reward_function.py")
    for flag, word in work.take("--remote_rm_url"):
        if word is not None and word.text.startswith(("http://", "https://")):
            work.name(
                flag, "set judge.kind to server or http, and judge.url to the address of that kind of judge server"
            )
        elif work.setting("custom_configs.max_turns"):
            why = "CUSTOM_CONFIGS asks for games of two turns, whose rewards are the game's own; assessor_only is the other"
            work.set(flag, "mode", Word("self_play"), why)
        else:
            work.set(flag, "mode", Word("assessor_only"), "rewards come from medical_team/local_reward_function.py")


def _plain_values(work: _Import) -> None:
    for setting, flags in VALUES.items():
        for flag, word in work.take(*flags):
            never = setting in NEVER and word is not None and word.text == "-1"
            work.set(flag, setting, Word("0") if never else word, "0 stands for never" if never else "")


def _samples_per_prompt(work: _Import) -> None:
    for flag, word in work.take("--n_samples_per_prompt", "--rollout.n_samples_per_prompt"):
        if work.setting("mode") == "assessor_only":
            work.set(flag, "rollout.samples_per_prompt", word)
        else:
            work.name(flag, "self-play gives one sample for each player; only the mode assessor_only can be set")


def _switches(work: _Import) -> None:
    for flag, (setting, value) in SWITCHES.items():
        for given, _ in work.take(flag):
            work.set(given, setting, Word(value))


def _reference_shape(work: _Import) -> None:
    """The reference model has the policy's own shape."""
    for part, setting in (("num_nodes", "cluster.nodes"), ("num_gpus_per_node", "cluster.gpus_per_node")):
        for flag, word in work.take(f"--ref_{part}", f"--ref.{part}"):
            if word is not None and word.text == str(work.setting(setting)):
                work.set(flag, setting, word, "the same for policy and reference model")
            else:
                work.name(flag, f"the reference model gets what the policy gets: see {setting}")


def _steps(work: _Import) -> None:
    prompts = work.setting("rollout.batch_size")
    samples = dict(work.take("--max_samples", "--data.max_samples"))
    episodes = dict(work.take("--num_episodes", "--train.num_episodes"))
    counts = [_count(word) for word in (*samples.values(), *episodes.values())]
    if samples and prompts and all(counts):
        each = counts[0] // prompts
        total, times = each * (counts[1] if episodes else 1), f" times {counts[1]}" if episodes else ""
        why = f"{counts[0]} samples give {each} whole batches of {prompts}{times}"
        for flag in (*samples, *episodes):
            work.set(flag, "train.steps", Word(str(total)), why)
        return
    for flag in (*samples, *episodes):
        work.name(
            flag, "steps follow from samples, batch and episodes together, and not all are given: set train.steps"
        )


def _count(word: Word | None) -> int | None:
    """A positive number of at most nine digits."""
    fits = word is not None and not word.unknown and word.text.isdecimal() and len(word.text) < 10
    return int(word.text) or None if fits else None


def _lengths(work: _Import) -> None:
    prompt, reply = dict(work.take("--prompt_max_len")), dict(work.take("--generate_max_len"))
    longest = next(iter(prompt.values()), Word(PROMPT_TOKENS)), next(iter(reply.values()), Word(GENERATED_TOKENS))
    counts = [_count(word) for word in longest]
    for flag, word in reply.items():
        work.set(flag, "rollout.max_new_tokens", word)
    for flag in (*prompt, *reply):
        if all(counts):
            why = f"prompt {counts[0]} and reply {counts[1]} together"
            work.set(flag, "rollout.max_len", Word(str(sum(counts))), why)
        elif flag in prompt:
            work.name(flag, "it is no number of tokens; set rollout.max_len by hand")


def _data(work: _Import) -> None:
    for flag, _ in work.take("--prompt_data"):
        why = "rows are written from the cases themselves: set data.path to the MEDEC file"
        work.set(flag, "data.source", Word("medec"), why)


STEPS: tuple[Callable[[_Import], None], ...] = (
    _device, _policy, _custom_configs, _mode, _plain_values, _samples_per_prompt, _switches, _reference_shape, _steps,
    _lengths, _data,
)  # fmt: skip
"""In this order: the mode is read from CUSTOM_CONFIGS, the steps from the batch, the reference's shape from the policy's."""


def _name_what_was_not_read(work: _Import, script: Script, after: list[Command]) -> None:
    known = {flag for flags in VALUES.values() for flag in flags} | SWITCHES.keys() | NO_SETTING.keys()
    for flag, values in work.given.items():
        if flag in NO_SETTING:
            work.name(flag, NO_SETTING[flag])
        elif flag:
            near = difflib.get_close_matches(flag, known, n=1, cutoff=0.8)
            hint = f"; did the script mean {near[0]}?" if near else ""
            work.name(flag[:80], f"this flag is not known here, and OpenRLHF's default is used{hint}")
        else:
            words = " ".join(word.text for word in values)[:80]
            work.name(words, "it stands before the first flag and belongs to none: type its flags in by hand")
    for name in sorted(work.environment.keys() - OWN_ENVIRONMENT):
        work.name(name, ENVIRONMENT.get(name, "a variable of the job: export it where the dashboard is started"))
    for command in after:
        if (first := command.words[0].text).startswith("--"):
            line = f"line {command.line} is not part of the command: the line before it has no backslash at its end"
            work.name(first[:80], f"{line}, or is a comment; set it by hand if it was meant")
    if script.branches:
        lines = ", ".join(map(str, script.branches))[:80]
        work.name("if, case, for", f"the script branches on line {lines}, and was read in order: check the values")
