"""Reads a shell script without running it: its simple commands, with variables filled in.

Knows quotes, escapes, line continuations, comments, `VAR=value`, `$VAR`, `${VAR}`, `${VAR:-default}`, redirections and
here-documents. The standard library's shlex tells neither where a command ends nor which quotes a word stood in, and
both decide what a flag's value is. Branches and loops are not followed: every line is read once, in order.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_CHARACTERS = 200_000
"""Of a script, and of a variable's value."""

_BLANK = re.compile(r"(?:[ \t]|\\\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_REDIRECTION = re.compile(r"(?:[0-9]+|&)?(?:<<<|<<-?|>>|>\||[<>]&|<>|[<>])")
_END = re.compile(r"\n|;+|&&|\|\||\|&|\||&|[()]")
_BREAKS = frozenset(" \t\n;&|()<>")
_PLAIN = re.compile(r"""[^\s;&|()<>'"\\$`]+|[^\S \t\n]+""")
_PLAIN_IN_DOUBLE = re.compile(r'[^"\\$`]+')
_DOUBLE = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}\"'$`\\]*))?\}")
_SPECIAL = re.compile(r"\$[0-9@*#?$!-]")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_SPLIT = re.compile(r"[ \t\n]+")
_BRANCHES = frozenset({"if", "case", "for", "while", "until"})
_LEADING = frozenset({"if", "then", "else", "elif", "do", "while", "until", "{", "!", "time", "exec", "nohup"})
_DECLARING = frozenset({"export", "readonly", "local", "declare", "typeset"})


class LegacyError(ValueError):
    """The script cannot be read; the message names the line and what to do."""


class Word(NamedTuple):
    """One word of a command, quotes removed and variables filled in."""

    text: str
    unknown: tuple[str, ...] = ()
    """What only running the script would tell, as it is written there: `$(date)`, or a variable that it never sets."""


class Command(NamedTuple):
    line: int
    words: tuple[Word, ...]
    environment: Mapping[str, Word]
    """Variables that the script exports up to here, and those written before the command."""


@dataclass
class Script:
    commands: list[Command] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    """Lines with an `if`, `case` or loop."""


class _Part(NamedTuple):
    """A piece of a word: text, or a variable."""

    text: str
    quoted: bool = True
    variable: bool = False
    default: str | None = None
    computed: bool = False


_Parts = list[_Part]


def read(text: str) -> Script:
    """The script's simple commands, in order. Errors: LegacyError."""
    if len(text) > MOST_CHARACTERS:
        raise LegacyError(f"the script has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    script, variables, exported = Script(), {}, set()
    for line, words in _Lexer(text.replace("\r\n", "\n")).commands():
        if words[0][0].text in _BRANCHES:
            script.branches.append(line)
        while words and _literal(words[0]) in _LEADING:
            words = words[1:]
        declares = bool(words) and _literal(words[0]) in _DECLARING
        assigned, words = _assignments(words[1:] if declares else words, line, variables)
        if declares or not words:
            variables |= assigned
            exported |= assigned.keys() if declares else set()
            continue
        environment = {name: variables[name] for name in exported} | assigned
        script.commands.append(Command(line, tuple(_expand_all(words, variables, line)), environment))
    return script


def _literal(parts: _Parts) -> str | None:
    """The word, if it stands there as it is."""
    return parts[0].text if len(parts) == 1 and parts[0] == _Part(parts[0].text, quoted=False) else None


def _assignments(words: list[_Parts], line: int, variables: Mapping[str, Word]) -> tuple[dict[str, Word], list[_Parts]]:
    """The assignments at the beginning of a command, and what follows them."""
    assigned: dict[str, Word] = {}
    while words and not words[0][0].quoted and (found := _ASSIGNMENT.match(words[0][0].text)):
        first = words[0][0]._replace(text=words[0][0].text[found.end() :])
        value = _joined([first, *words[0][1:]], dict(variables) | assigned)
        before = (assigned.get(found[1]) or variables.get(found[1], Word(""))) if found[2] else Word("")
        value = Word(before.text + value.text, _distinct(before.unknown + value.unknown))
        if len(value.text) > MOST_CHARACTERS:
            raise LegacyError(f"line {line}: {found[1]} grows beyond {MOST_CHARACTERS} characters")
        assigned[found[1]], words = value, words[1:]
    return assigned, words


def _value(part: _Part, variables: Mapping[str, Word]) -> Word:
    if part.computed:
        return Word(part.text, (part.text,))
    if not part.variable:
        return Word(part.text)
    known = variables.get(part.text)
    if part.default is not None and not (known and known.text):
        return Word(part.default)
    return known if known is not None else Word("", (f"${part.text}",))


def _joined(parts: _Parts, variables: Mapping[str, Word]) -> Word:
    values = [_value(part, variables) for part in parts]
    return Word("".join(value.text for value in values), _distinct(name for value in values for name in value.unknown))


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _expand_all(words: list[_Parts], variables: Mapping[str, Word], line: int) -> Iterator[Word]:
    length = sum(len(_value(part, variables).text) for parts in words for part in parts)
    if length > MOST_CHARACTERS:
        raise LegacyError(f"line {line}: the command has {length} characters; at most {MOST_CHARACTERS} are read")
    for parts in words:
        yield from _expand(parts, variables)


def _expand(parts: _Parts, variables: Mapping[str, Word]) -> list[Word]:
    """The words that one written word becomes: a variable outside quotes is split at its blanks."""
    words, current, kept = [], Word(""), False
    for part in parts:
        value = _value(part, variables)
        splits = part.variable and not part.quoted and not value.unknown
        pieces = _SPLIT.split(value.text) if splits else [value.text]
        for place, piece in enumerate(pieces):
            if place:
                words += [current] if current.text or kept else []
                current, kept = Word(""), False
            current = Word(current.text + piece, current.unknown + value.unknown)
        kept = kept or not splits
    return words + ([current] if current.text or kept else [])


class _Lexer:
    """Cuts a script into commands of unexpanded words."""

    def __init__(self, text: str):
        self.text, self.at = text, 0

    def commands(self) -> Iterator[tuple[int, list[_Parts]]]:
        words: list[_Parts] = []
        line, documents = 1, []
        while self.at < len(self.text):
            if self._take(_BLANK) or self._take(_COMMENT):
                continue
            if redirection := self._take(_REDIRECTION):
                self._take(_BLANK)
                target = self._word()
                if redirection[0].rstrip("-").endswith("<<"):
                    documents.append("".join(part.text for part in target))
            elif end := self._take(_END):
                if words:
                    yield line, words
                    words = []
                if end[0] == "\n":
                    self._skip(documents)
                    documents = []
            else:
                line = line if words else self._line()
                words.append(self._word())
        if words:
            yield line, words

    def _skip(self, documents: list[str]) -> None:
        for delimiter in documents:
            end = re.compile(rf"^\t*{re.escape(delimiter)}$", re.MULTILINE).search(self.text, self.at)
            if end is None:
                raise LegacyError(f"line {self._line()}: the here-document never ends with {delimiter!r}")
            self.at = end.end()

    def _word(self) -> _Parts:
        parts: _Parts = []
        while self.at < len(self.text) and (char := self.text[self.at]) not in _BREAKS:
            if char == "'":
                parts.append(_Part(self._until("'")))
            elif char == '"':
                parts += self._double()
            elif char in "$`":
                parts.append(self._expansion(quoted=False))
            elif char == "\\":
                parts += self._escaped()
            else:
                parts.append(_Part(self._take(_PLAIN)[0], quoted=False))
        return parts or [_Part("")]

    def _escaped(self) -> _Parts:
        char = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        return [] if char == "\n" else [_Part(char)]

    def _double(self) -> _Parts:
        opened, parts = self._line(), [_Part("")]
        self.at += 1
        while self.at < len(self.text) and (char := self.text[self.at]) != '"':
            if char in "$`":
                parts.append(self._expansion(quoted=True))
            elif char == "\\":
                after = self.text[self.at + 1 : self.at + 2]
                self.at += 2
                parts.append(_Part("" if after == "\n" else after if after in '"\\$`' else char + after))
            else:
                parts.append(_Part(self._take(_PLAIN_IN_DOUBLE)[0]))
        if self.at >= len(self.text):
            raise LegacyError(f'line {opened}: the quote " is never closed')
        self.at += 1
        return parts

    def _expansion(self, quoted: bool) -> _Part:
        if found := self._take(_VARIABLE):
            return _Part(found[1] or found[2], quoted, variable=True, default=found[3])
        if found := self._take(_SPECIAL):
            return _Part(found[0], quoted, computed=True)
        for start, end in (("$(", ")"), ("${", "}")):
            if self.text.startswith(start, self.at):
                return _Part(self._balanced(start, end), quoted, computed=True)
        if self.text[self.at] == "`":
            return _Part(f"`{self._until('`')}`", quoted, computed=True)
        self.at += 1
        return _Part("$", quoted)

    def _balanced(self, start: str, end: str) -> str:
        opened, begin, depth = self._line(), self.at, 1
        self.at += len(start)
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "'":
                self._until("'")
                continue
            if char == '"' and self._take(_DOUBLE):
                continue
            self.at += 2 if char == "\\" else 1
            depth += (char == start[-1]) - (char == end)
            if not depth:
                return self.text[begin : self.at]
        raise LegacyError(f"line {opened}: {start} is never closed with {end}")

    def _until(self, quote: str) -> str:
        """What stands between the quote here and the next one."""
        end = self.text.find(quote, self.at + 1)
        if end < 0:
            raise LegacyError(f"line {self._line()}: the quote {quote} is never closed")
        found = self.text[self.at + 1 : end]
        self.at = end + 1
        return found

    def _take(self, pattern: re.Pattern) -> re.Match | None:
        if found := pattern.match(self.text, self.at):
            self.at = found.end()
        return found

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1
