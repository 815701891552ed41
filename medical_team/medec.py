"""MEDEC: its file formats, its names for errors, its licence, and where to get it.

A file is read whole or not at all: one broken row refuses it, and the refusal lists every broken row.
"""

import csv
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from medical_team.types import Case, ErrorType

LICENCE = "Creative Commons Attribution 4.0 International (CC BY 4.0), https://creativecommons.org/licenses/by/4.0/"
CITATION = (
    "Asma Ben Abacha, Wen-wai Yim, Yujuan Fu, Zhaoyi Sun, Meliha Yetisgen, Fei Xia, Thomas Lin. MEDEC: A Benchmark for "
    "Medical Error Detection and Correction in Clinical Notes. Findings of ACL 2025. "
    "https://aclanthology.org/2025.findings-acl.1159/"
)
ATTRIBUTION = "MEDEC-MS (Ben Abacha et al., Findings of ACL 2025), CC BY 4.0, https://github.com/abachaa/MEDEC"
"""One line to show beside the notes."""

PAGE = "https://github.com/abachaa/MEDEC/tree/main/MEDEC-MS"
URL = (
    "https://raw.githubusercontent.com/abachaa/MEDEC/refs/heads/main/MEDEC-MS/"
    "MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv"
)
MOST_BYTES = 20_000_000
SILENCE_SECONDS, DOWNLOAD_SECONDS = 15.0, 180.0
"""Longest wait for the next bytes, and for the whole file."""

# the guide's name -> MEDEC's names
ERROR_TYPES: dict[ErrorType, tuple[str, ...]] = {
    ErrorType.DOSAGE: ("pharmacotherapy",),
    ErrorType.DIAGNOSIS: ("diagnosis", "causalOrganism"),
    ErrorType.CONTRAINDICATION: ("pharmacotherapy", "treatment"),
    ErrorType.MANAGEMENT: ("management", "treatment"),
    ErrorType.DRUG_INTERACTION: ("pharmacotherapy",),
}
MEDEC_TYPES = tuple(dict.fromkeys(name for names in ERROR_TYPES.values() for name in names))
MEDEC_NAMES = {name.casefold(): name for name in MEDEC_TYPES}
"""Letter case aside, a file may name an error as it likes."""

ID = "Text ID"
CSV_COLUMNS = (ID, "Text", "Corrected Text", "Error Type", "Error Flag")
JSONL_KEYS = ("note_id", "incorrect_note", "correct_note", "error_type")
SURROGATE = re.compile("[\ud800-\udfff]")
SHOWN = 20
"""Problems that the message of a `DataError` lists."""


class Problem(NamedTuple):
    line: int
    """Line of the file, from 1, on which the row starts."""
    reason: str


class DataError(ValueError):
    """A file that cannot be used. `problems` holds all that is wrong with it, by line."""

    def __init__(self, file: str, problems: list[Problem]):
        self.problems = sorted(problems)
        lines = [f"  {file}:{problem.line}: {problem.reason}" for problem in self.problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"  and {len(problems) - SHOWN} more")
        super().__init__("\n".join([f"{file} was not read; problems: {len(problems)}", *lines]))


class DownloadError(OSError):
    """MEDEC could not be fetched. The message says how to get it by hand."""


class CleanNote(NamedTuple):
    """A note that the data set gives without an error and without a twin."""

    id: str
    text: str


class Medec(NamedTuple):
    """A whole file."""

    cases: list[Case]
    clean: list[CleanNote]
    blank: int
    """Rows without content that were skipped: the official test file stands in for its UW part with such rows."""
    kinds: dict[str, str]
    """Case id -> MEDEC's own name for its error."""


class _Row(NamedTuple):
    line: int
    id: str
    note: str
    corrected: str
    error_type: str
    flag: str


def guide_types(name: str) -> tuple[ErrorType, ...]:
    """The guide's names for one of MEDEC's error types, in any letter case; empty if there is no such type."""
    wanted = name.casefold()
    return tuple(kind for kind, names in ERROR_TYPES.items() if wanted in map(str.casefold, names))


def read_medec(path: Path) -> list[Case]:
    """The error cases of a MEDEC file, CSV or JSONL. Errors: DataError, OSError."""
    return read_file(path).cases


def read_clean(path: Path) -> list[CleanNote]:
    """The notes with error flag 0; a JSONL file of pairs has none. Errors: as `read_medec`.

    Nearly all of them retell an error case of the same file in almost the same words, so they are no test of a model
    that learned from that file.
    """
    return read_file(path).clean


def read_file(path: Path) -> Medec:
    """Everything in a MEDEC file. Errors: as `read_medec`."""
    return parse(path.read_bytes(), path.name)


def parse(content: bytes, file: str) -> Medec:
    """Reads UTF-8 CSV or JSONL: what the ending of the name `file` says, else what it looks like. Errors: DataError."""
    text = content.decode("utf-8-sig", errors="surrogateescape")
    items = list(_jsonl_rows(text) if _is_jsonl(file, text) else _csv_rows(text))
    rows = [item for item in items if isinstance(item, _Row)]
    problems = [item for item in items if isinstance(item, Problem)]
    problems += [Problem(row.line, reason) for row in rows for reason in _faults(row)]
    problems += _repeated_ids(rows)
    if not items:
        problems.append(Problem(1, "there are no rows"))
    if problems:
        raise DataError(file, problems)
    return Medec(
        cases=[_case(row) for row in rows if row.flag == "1"],
        clean=[CleanNote(row.id, row.note) for row in rows if row.flag == "0"],
        blank=items.count(None),
        kinds={row.id: MEDEC_NAMES[row.error_type.casefold()] for row in rows if row.flag == "1"},
    )


def _case(row: _Row) -> Case:
    return Case(row.id, row.corrected, row.note, guide_types(row.error_type), source="medec")


def _is_jsonl(file: str, text: str) -> bool:
    ending = Path(file).suffix.lower()
    return ending == ".jsonl" or (ending != ".csv" and text.lstrip().startswith("{"))


def _csv_rows(text: str) -> Iterator[_Row | Problem | None]:
    """Rows in order, None for a blank one. Lines end at "\\n" alone, as in an editor that shows line numbers."""
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    header, start = None, 1
    try:
        for fields in reader:
            if header is None:
                header = fields
                if wrong := _header_fault(header):
                    yield Problem(start, wrong)
                    return
            elif fields:
                yield _csv_row(start, header, fields)
            start = reader.line_num + 1
    except csv.Error as error:
        yield Problem(start, f"{error}; rows after this one were not looked at")


def _header_fault(header: list[str]) -> str | None:
    if missing := [name for name in CSV_COLUMNS if name not in header]:
        return f"the header lacks {', '.join(missing)}; it must name {', '.join(CSV_COLUMNS)}"
    if twice := sorted({name for name in header if header.count(name) > 1}):
        return f"the header names {', '.join(twice)} more than once"
    return None


def _csv_row(line: int, header: list[str], fields: list[str]) -> _Row | Problem | None:
    if not all(map(_is_unicode, fields)):
        return Problem(line, "not UTF-8")
    if len(fields) != len(header):
        return Problem(line, f"{len(fields)} columns where the header has {len(header)}")
    named = dict(zip(header, fields, strict=True))
    if not any(value.strip() for name, value in named.items() if name != ID):
        return None
    return _Row(line, *(named[column] for column in CSV_COLUMNS))


def _jsonl_rows(text: str) -> Iterator[_Row | Problem]:
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            yield _jsonl_row(line, row)


def _jsonl_row(line: int, row: str) -> _Row | Problem:
    if not _is_unicode(row):
        return Problem(line, "not UTF-8")
    try:
        values = json.loads(row)
    except json.JSONDecodeError as error:
        return Problem(line, f"bad JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets in brackets without end
        return Problem(line, f"bad JSON: {error}")
    if not isinstance(values, dict):
        return Problem(line, "not a JSON object")
    if missing := [key for key in JSONL_KEYS if key not in values]:
        return Problem(line, f"lacks {', '.join(missing)}")
    if wrong := [key for key in JSONL_KEYS if not (isinstance(values[key], str) and _is_unicode(values[key]))]:
        return Problem(line, f"not text: {', '.join(wrong)}")
    return _Row(line, *(values[key] for key in JSONL_KEYS), flag="1")


def _is_unicode(text: str) -> bool:
    """False for what did not decode, and for half of a surrogate pair, which JSON can spell: neither can be written."""
    return not SURROGATE.search(text)


def _faults(row: _Row) -> Iterator[str]:
    if not row.id.strip():
        yield "no id"
    if not row.note.strip():
        yield "empty note"
    if row.flag not in ("0", "1"):
        yield f"error flag {row.flag[:40]!r}; it must be 0 or 1"
    if row.flag == "1":
        yield from _pair_faults(row)


def _pair_faults(row: _Row) -> Iterator[str]:
    if not guide_types(row.error_type):
        yield f"unknown error type {row.error_type[:40]!r}; it must be one of {', '.join(MEDEC_TYPES)}"
    if row.corrected.strip() in ("", "NA"):
        yield "an error without a corrected text"
    elif row.corrected.split() == row.note.split():
        yield "the corrected text equals the error text"


def _repeated_ids(rows: list[_Row]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.id, row.line) != row.line and row.id.strip():
            yield Problem(row.line, f"id {row.id[:40]!r} stands on line {first[row.id]} already")


def fetch_medec(to: Path, url: str = URL, most_bytes: int = MOST_BYTES) -> Medec:
    """Downloads the publisher's file to `to`, and reads it. Errors: DownloadError, which leaves `to` as it was."""
    try:
        content = _download(url, most_bytes)
        medec = parse(content, Path(url).name)
    except (httpx.HTTPError, DataError) as error:
        raise _by_hand(url, str(error) or type(error).__name__) from error
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".medec-") as folder:
        part = Path(folder) / to.name
        part.write_bytes(content)
        os.replace(part, to)
    return medec


def _download(url: str, most_bytes: int) -> bytes:
    content, end = bytearray(), time.monotonic() + DOWNLOAD_SECONDS
    with httpx.stream("GET", url, timeout=SILENCE_SECONDS, follow_redirects=True) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > most_bytes:
                raise _by_hand(url, f"more than {most_bytes:,} bytes")
            if time.monotonic() > end:
                raise _by_hand(url, f"not done after {DOWNLOAD_SECONDS:.0f} s")
    return bytes(content)


def _by_hand(url: str, why: str) -> DownloadError:
    return DownloadError(
        f"could not fetch {url}: {why}\nDownload {Path(url).name} from {PAGE} in a browser and pass --path FILE."
    )
