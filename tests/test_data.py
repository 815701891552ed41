import csv
import json
import os
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medical_team import data, medec
from medical_team.config import GameConfig
from medical_team.data import DataError
from medical_team.text import fingerprint, normalise
from medical_team.types import Case, Category, ErrorType, Label, Sample

FIXTURES = Path(__file__).parent / "data"
REAL = Path(__file__).resolve().parents[2] / "shared" / "medec"
VALIDATION = REAL / "MEDEC-MS-ValidationSet-with-GroundTruth-and-ErrorType.csv"
TRAIN_PAIRS = REAL / "MEDEC-MS-train-pairs.jsonl"
needs_medec = pytest.mark.skipif(not VALIDATION.exists(), reason=f"MEDEC is not at {REAL}")

PHARMACOTHERAPY = (ErrorType.DOSAGE, ErrorType.CONTRAINDICATION, ErrorType.DRUG_INTERACTION)
TREATMENT = (ErrorType.CONTRAINDICATION, ErrorType.MANAGEMENT)
ALL_KINDS = tuple(ErrorType)

kinds_of_a_case = st.sampled_from([PHARMACOTHERAPY, TREATMENT, (ErrorType.DIAGNOSIS,), (ErrorType.MANAGEMENT,)])
unique_notes = st.uuids().map(str)
few_notes = st.sampled_from([f"{letter} note" for letter in "abcdefghijklmnopqrstuvwxyz"])
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def invented(count: int, kinds=((ErrorType.DIAGNOSIS,), (ErrorType.MANAGEMENT,), PHARMACOTHERAPY)) -> list[Case]:
    return [Case(f"c{n}", f"clean {n}", f"error {n}", kinds[n % len(kinds)], "test") for n in range(count)]


@st.composite
def case_lists(draw, notes=unique_notes) -> list[Case]:
    drawn = draw(st.lists(st.tuples(notes, notes, kinds_of_a_case), min_size=1, max_size=60))
    return [Case(f"c{n}", *values, "test") for n, values in enumerate(drawn)]


# MEDEC's files


def test_csv_gives_the_error_cases_with_the_guides_names():
    cases = data.read_medec(FIXTURES / "cases.csv")
    assert [(case.id, case.error_types) for case in cases] == [
        ("toy-0", (ErrorType.DIAGNOSIS,)),
        ("toy-2", PHARMACOTHERAPY),
        ("toy-3", TREATMENT),
        ("toy-4", (ErrorType.MANAGEMENT,)),
        ("toy-5", (ErrorType.DIAGNOSIS,)),
        ("toy-6", (ErrorType.DIAGNOSIS,)),
    ]
    assert "100 g twice" in cases[1].error and "100 mg twice" in cases[1].clean
    assert cases[1].clean.endswith('He says it "burns".') and cases[3].clean.endswith("née Núñez.")
    assert {case.source for case in cases} == {"medec"}


def test_clean_notes_and_blank_rows_stand_apart():
    whole = medec.read_file(FIXTURES / "cases.csv")
    assert [note.id for note in data.read_clean(FIXTURES / "cases.csv")] == ["toy-1"]
    assert whole.clean[0].text.startswith("A 31-year-old baker") and whole.blank == 2


def test_jsonl_gives_the_same_cases_and_keeps_line_separators_inside_notes():
    pairs = data.read_medec(FIXTURES / "pairs.jsonl")
    cases = data.read_medec(FIXTURES / "cases.csv")
    assert [case.error_types for case in pairs] == [case.error_types for case in cases]
    assert pairs[0].clean.endswith("\u2028")
    assert data.read_clean(FIXTURES / "pairs.jsonl") == []


@pytest.mark.parametrize("name", ["cases.csv", "pairs.jsonl"])
def test_without_a_telling_ending_the_content_decides(tmp_path, name):
    unnamed = tmp_path / "download"
    unnamed.write_bytes(b"\xef\xbb\xbf" + (FIXTURES / name).read_bytes())
    assert data.read_medec(unnamed) == data.read_medec(FIXTURES / name)


def problems(path: Path) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as refusal:
        data.read_medec(path)
    return [tuple(problem) for problem in refusal.value.problems]


def test_every_broken_csv_row_is_named_by_the_line_it_starts_on():
    unknown = "it must be one of pharmacotherapy, diagnosis, causalOrganism, treatment, management"
    assert problems(FIXTURES / "broken.csv") == [
        (5, f"unknown error type 'astrology'; {unknown}"),
        (8, "an error without a corrected text"),
        (11, "the corrected text equals the error text"),
        (14, "empty note"),
        (17, "error flag 'yes'; it must be 0 or 1"),
        (20, "id 'toy-0' stands on line 2 already"),
        (23, "no id"),
        (26, "6 columns where the header has 9"),
        (29, "an error without a corrected text"),
        (29, f"unknown error type ''; {unknown}"),
    ]


def test_every_broken_jsonl_row_is_named_by_its_line():
    found = problems(FIXTURES / "broken.jsonl")
    assert found[:-1] == [
        (2, "bad JSON: Expecting value at column 38"),
        (3, "not a JSON object"),
        (4, "lacks correct_note, error_type"),
        (5, "not text: correct_note"),
        (7, "id 'p-0' stands on line 1 already"),
        (8, "the corrected text equals the error text"),
        (9, "not text: incorrect_note"),
    ]
    assert found[-1][0] == 10 and found[-1][1].startswith("bad JSON: Exceeds the limit")


def test_the_message_shows_twenty_problems_and_the_total():
    lines = b"\n".join(b"{}" for _ in range(33))
    with pytest.raises(DataError) as refusal:
        medec.parse(lines, "many.jsonl")
    shown = str(refusal.value).split("\n")
    assert shown[0] == "many.jsonl was not read; problems: 33" and shown[-1] == "  and 13 more"
    assert shown[20].startswith("  many.jsonl:20: lacks") and len(shown) == 22


def test_another_encoding_is_named_by_row():
    content = (FIXTURES / "cases.csv").read_text(encoding="utf-8").encode("cp1252")
    with pytest.raises(DataError) as refusal:
        medec.parse(content, "cases.csv")
    assert [tuple(problem) for problem in refusal.value.problems] == [(13, "not UTF-8")]
    assert content.split(b"\n")[12].startswith(b"toy-4,")


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "there are no rows"),
        (b"Text ID,Text,Error Flag\n", 1, "the header lacks Corrected Text, Error Type"),
        (b"Text ID,Text,Text,Corrected Text,Error Type,Error Flag\n", 1, "the header names Text more than once"),
        (b"<!doctype html>\n<p>Sign in</p>\n", 1, "the header lacks Text ID"),
        (b'Text ID,Text,Corrected Text,Error Type,Error Flag\na,b,,NA,0\nc,"d\n\n', 3, "unexpected end of data"),
    ],
)
def test_files_that_are_no_table(content, line, reason):
    with pytest.raises(DataError) as refusal:
        medec.parse(content, "cases.csv")
    assert refusal.value.problems[0].line == line and refusal.value.problems[0].reason.startswith(reason)


def test_the_table_of_error_types_reads_both_ways():
    assert set(data.ERROR_TYPES) == set(ErrorType)
    for kind, names in data.ERROR_TYPES.items():
        assert all(kind in medec.guide_types(name.upper()) for name in names)
    assert medec.guide_types("treatments") == ()


# Download


@contextmanager
def served(content: bytes, status: int = 200, announced: int | None = None):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if announced is None else announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/MEDEC-MS/cases.csv"
        finally:
            server.shutdown()
            thread.join()


def test_fetch_writes_the_publishers_bytes(tmp_path):
    content = (FIXTURES / "cases.csv").read_bytes()
    with served(content) as url:
        fetched = data.fetch_medec(tmp_path / "new" / "medec.csv", url)
    assert (tmp_path / "new" / "medec.csv").read_bytes() == content
    assert len(fetched.cases) == 6 and os.listdir(tmp_path / "new") == ["medec.csv"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"content": b"gone", "status": 404}, "404"),
        ({"content": b"<html>Sign in</html>"}, "the header lacks"),
        ({"content": b"x" * 5000}, "more than 4,000 bytes"),
        ({"content": b"Text ID", "announced": 3000}, "incomplete|without sending complete"),
    ],
)
def test_a_failed_fetch_leaves_the_old_file_and_says_how_to_do_it_by_hand(tmp_path, answer, why):
    old = tmp_path / "medec.csv"
    old.write_text("old")
    with served(**answer) as url, pytest.raises(medec.DownloadError, match=why) as failure:
        data.fetch_medec(old, url, most_bytes=4000)
    assert "Download cases.csv from https://github.com/abachaa/MEDEC" in str(failure.value)
    assert "--path" in str(failure.value)
    assert old.read_text() == "old" and os.listdir(tmp_path) == ["medec.csv"]


def test_fetch_offline(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/cases.csv"
        with pytest.raises(medec.DownloadError, match="--path"):
            data.fetch_medec(tmp_path / "medec.csv", closed)
    assert os.listdir(tmp_path) == []


# Selecting, de-duplicating, splitting


@given(text)
def test_normalising_twice_changes_nothing(note):
    assert normalise(normalise(note)) == normalise(note)


def test_normalising_drops_case_spacing_and_compatibility_forms():
    assert normalise(" Five\u00a0mg\n of ﬁne STRASSE ") == normalise("five mg of fine straße")
    assert fingerprint("5 mg") == fingerprint("5  MG") != fingerprint("50 mg")


def test_select_keeps_what_can_be_called_so():
    cases = data.read_medec(FIXTURES / "cases.csv")
    assert [case.id for case in data.select(cases, [ErrorType.CONTRAINDICATION])] == ["toy-2", "toy-3"]
    assert [case.id for case in data.select(cases, [ErrorType.DRUG_INTERACTION])] == ["toy-2"]
    assert data.select(cases, ALL_KINDS) == cases


def test_deduplicate_keeps_the_first_and_drops_what_differs_in_case_alone():
    first, second, third, fourth = invented(4)
    same_clean = replace(second, clean=" CLEAN  0")
    crossed = replace(third, error="clean 0")
    shouting = replace(fourth, error="CLEAN 3")
    assert data.deduplicate([first, same_clean, crossed, shouting, second]) == [first, second]


@given(case_lists(few_notes), st.integers(0, 1000), st.data())
def test_no_note_stands_in_two_splits(cases, seed, drawn):
    wanted = drawn.draw(st.integers(0, len(cases) - 1))
    splits = data.split(cases, wanted, seed)
    notes = [{normalise(note) for case in part for note in (case.clean, case.error)} for part in splits]
    assert not notes[0] & notes[1]
    assert Counter(splits.train + splits.eval) == Counter(cases)
    assert len(splits.eval) <= wanted and splits.train
    assert data.split(cases, wanted, seed) == splits


@given(case_lists(), st.integers(0, 1000), st.data())
def test_cases_without_common_notes_split_exactly_and_by_kind(cases, seed, drawn):
    wanted = drawn.draw(st.integers(0, len(cases) - 1))
    splits = data.split(cases, wanted, seed)
    assert len(splits.eval) == wanted
    held_out = Counter(case.error_types for case in splits.eval)
    for kinds, count in Counter(case.error_types for case in cases).items():
        assert abs(held_out[kinds] - count * wanted / len(cases)) < 1.5


def test_seeds_differ_and_impossible_counts_are_refused():
    cases = invented(60)
    assert data.split(cases, 20, 1).eval != data.split(cases, 20, 2).eval
    for wanted in (-1, 60):
        with pytest.raises(ValueError, match=f"cannot hold out {wanted} of 60"):
            data.split(cases, wanted, 1)


# Samples


def test_a_case_is_seen_from_both_sides():
    case = invented(1)[0]
    harmful, benign = data.samples([case], ALL_KINDS)
    assert (harmful.category, harmful.note) == (Category.VANILLA_HARMFUL, case.error)
    assert (benign.category, benign.note) == (Category.VANILLA_BENIGN, case.clean)
    assert (harmful.id, benign.id) == ("c0/vanilla_harmful", "c0/vanilla_benign")
    assert {harmful.case, benign.case} == {"c0"} and harmful.clean == case.clean and benign.error == case.error


@given(case_lists())
def test_halves_alternate_exactly_and_independently_of_the_error(cases):
    drawn = data.samples(cases, ALL_KINDS)
    counts = Counter(sample.category for sample in drawn)
    vanilla, adversarial = -(-len(cases) // 2), len(cases) // 2
    assert counts[Category.VANILLA_HARMFUL] == counts[Category.VANILLA_BENIGN] == vanilla
    assert counts[Category.ADVERSARIAL_HARMFUL] == counts[Category.ADVERSARIAL_BENIGN] == adversarial
    assert len({sample.id for sample in drawn}) == len(drawn)
    errors = {case.id: case.error_types for case in cases}
    for key in (lambda sample: errors[sample.case], lambda sample: (errors[sample.case], sample.error_type)):
        halves = Counter((key(sample), sample.category.adversarial) for sample in drawn if sample.note == sample.error)
        assert all(abs(halves[group, True] - halves[group, False]) <= 2 for group, _ in list(halves))


@given(case_lists(), st.sets(st.sampled_from(ErrorType), min_size=1))
def test_the_asked_kind_is_one_that_case_and_config_allow(cases, wanted):
    chosen = {case.id: case for case in data.select(cases, wanted)}
    for sample in data.samples(list(chosen.values()), wanted):
        assert sample.error_type in wanted and sample.error_type in chosen[sample.case].error_types


def test_the_asked_kinds_of_one_error_are_spread():
    drawn = data.samples(invented(60, (PHARMACOTHERAPY,)), ALL_KINDS)
    asked = Counter(sample.error_type for sample in drawn if sample.category is Category.ADVERSARIAL_HARMFUL)
    assert asked == dict.fromkeys(PHARMACOTHERAPY, 10)


def test_a_case_of_no_wanted_kind_is_refused():
    with pytest.raises(ValueError, match="'c1'.*select"):
        data.samples(invented(3), [ErrorType.DIAGNOSIS])


def test_recast_follows_the_config():
    drawn = data.samples(invented(7), ALL_KINDS)
    assert data.recast(drawn, GameConfig()) == drawn
    for flag, adversarial in (("no_attacker_turn", False), ("no_defender_turn", True)):
        played = data.recast(drawn, GameConfig(**{flag: True}))
        assert {sample.category.adversarial for sample in played} == {adversarial}
        assert [sample.category.intended for sample in played] == [sample.category.intended for sample in drawn]
        assert [sample.note for sample in played] == [sample.note for sample in drawn]
        assert all(sample.id == f"{sample.case}/{sample.category}" for sample in played)


# Rows


@given(
    st.builds(Sample, text, text, st.sampled_from(Category), text, text, text, st.sampled_from(ErrorType), text),
    st.sampled_from(["train", "eval"]),
)
def test_read_label_is_the_inverse_of_rows(sample, mode):
    row = data.rows([sample], mode)[0]
    assert data.read_label(row.label) == (mode, sample)
    assert json.loads(row.label)["sample"]["note"] == sample.note


def test_a_label_with_other_content_is_refused():
    label = json.loads(data.rows(data.samples(invented(1), ALL_KINDS), "eval")[0].label)
    with pytest.raises(ValidationError):
        data.read_label(json.dumps(label | {"mode": "test"}))
    with pytest.raises(ValidationError):
        data.read_label(json.dumps(label | {"split": "eval"}))


def test_evaluation_rows_report_by_category():
    drawn = data.samples(invented(4), ALL_KINDS)
    evaluation = data.rows(drawn, "eval")
    assert [row.datasource for row in evaluation] == [sample.category for sample in drawn]
    assert evaluation[0].input == "eval 1: c0/vanilla_harmful"
    assert {row.datasource for row in data.rows(drawn, "train")} == {"train"}


@pytest.mark.parametrize("count", [0, 1, 7, 64, 1000])
def test_training_rows_are_counted_balanced_and_cover_all(count):
    drawn = data.samples(invented(11), ALL_KINDS)
    training = data.training_rows(drawn, count, seed=3)
    assert len(training) == len({row.input for row in training}) == count
    played = [data.read_label(row.label)[1] for row in training]
    sizes = Counter(sample.category for sample in played)
    assert max(sizes.values(), default=0) - min((sizes[name] for name in Category), default=0) <= 1
    labels = Counter(sample.category.intended for sample in played)
    assert abs(labels[Label.HARMFUL] - labels[Label.SAFE]) <= 1
    for name in Category:
        uses = Counter(sample.id for sample in played if sample.category is name)
        of_name = [sample.id for sample in drawn if sample.category is name]
        assert max(uses.values(), default=0) - min(uses[each] for each in of_name) <= 1


def test_training_rows_depend_on_the_seed_alone():
    drawn = data.samples(invented(20), ALL_KINDS)
    assert data.training_rows(drawn, 80, 1) == data.training_rows(drawn, 80, 1) != data.training_rows(drawn, 80, 2)
    passes = [data.read_label(row.label)[1].id for row in data.training_rows(drawn, 80, 1)]
    assert passes[:40] != passes[40:] and sorted(passes[:40]) == sorted(passes[40:])


def test_training_rows_keep_to_the_categories_that_are_played():
    vanilla = data.recast(data.samples(invented(5), ALL_KINDS), GameConfig(no_attacker_turn=True))
    played = Counter(data.read_label(row.label)[1].category for row in data.training_rows(vanilla, 10, 1))
    assert played == {Category.VANILLA_HARMFUL: 5, Category.VANILLA_BENIGN: 5}
    with pytest.raises(ValueError, match="no samples"):
        data.training_rows([], 1, 1)


# Writing


def test_a_data_set_is_three_files_that_say_where_they_come_from(tmp_path):
    cases = data.read_medec(FIXTURES / "pairs.jsonl")
    origin = data.medec_origin([FIXTURES / "pairs.jsonl"], seed=5)
    splits = data.split(cases, 2, 5)
    train = data.training_rows(data.samples(splits.train, ALL_KINDS), 12, 5)
    evaluation = data.rows(data.samples(splits.eval, ALL_KINDS), "eval")
    card = data.write_dataset(tmp_path / "deep" / "set", train, evaluation, origin)

    folder = tmp_path / "deep" / "set"
    assert sorted(os.listdir(folder)) == ["card.json", "eval.jsonl", "train.jsonl"]
    assert os.listdir(tmp_path / "deep") == ["set"]
    assert data.Card.model_validate_json((folder / "card.json").read_bytes()) == card
    assert "CC BY 4.0" in card.licence and "Findings of ACL 2025" in card.citation
    assert len(card.inputs["pairs.jsonl"]) == 64
    assert (card.train.rows, card.train.cases, card.eval.rows, card.eval.cases) == (12, 4, 4, 2)
    assert sum(count for kinds in card.train.categories.values() for count in kinds.values()) == 12
    for name, rows in (("train", train), ("eval", evaluation)):
        lines = (folder / f"{name}.jsonl").read_bytes().split(b"\n")
        assert lines.pop() == b"" and b"\r" not in b"".join(lines)
        assert [data.Row(**json.loads(line)) for line in lines] == rows
    assert "née Núñez" in (folder / "train.jsonl").read_text() + (folder / "eval.jsonl").read_text()


def test_nothing_is_written_half_or_over_another_data_set(tmp_path):
    origin = data.Origin(source="s", licence="l", citation="c", seed=1)
    drawn = data.rows(data.samples(invented(2), ALL_KINDS), "train")
    with pytest.raises(UnicodeEncodeError):
        data.write_dataset(tmp_path / "set", [drawn[0]._replace(input="half a pair \ud83d")], [], origin)
    assert os.listdir(tmp_path) == []
    data.write_dataset(tmp_path / "set", drawn, [], origin)
    with pytest.raises(FileExistsError, match="not empty"):
        data.write_dataset(tmp_path / "set", [], [], origin)
    assert len((tmp_path / "set" / "train.jsonl").read_bytes().splitlines()) == 4


# The published files


@needs_medec
def test_the_validation_file_gives_the_guides_638_samples():
    whole = medec.read_file(VALIDATION)
    assert (len(whole.cases), len(whole.clean), whole.blank) == (319, 255, 0)
    assert data.deduplicate(whole.cases) == whole.cases
    cases = data.select(whole.cases, GameConfig().error_types)
    counts = Counter(sample.category.value for sample in data.samples(cases, GameConfig().error_types))
    assert counts == {
        "vanilla_harmful": 160, "vanilla_benign": 160, "adversarial_harmful": 159, "adversarial_benign": 159,
    }  # fmt: skip


@needs_medec
def test_the_validation_file_splits_by_case_with_every_kind_held_out():
    cases = data.read_medec(VALIDATION)
    splits = data.split(cases, 64, seed=1)
    assert (len(splits.train), len(splits.eval)) == (255, 64)
    assert not {case.id for case in splits.train} & {case.id for case in splits.eval}
    notes = [{fingerprint(note) for case in part for note in (case.clean, case.error)} for part in splits]
    assert not notes[0] & notes[1]
    assert {case.error_types for case in splits.eval} == {case.error_types for case in cases}


@needs_medec
def test_rows_of_the_validation_file_have_the_lines_where_its_ids_stand():
    lines = VALIDATION.read_bytes().split(b"\n")
    with VALIDATION.open(newline="", encoding="utf-8") as file:
        ids = [row["Text ID"] for row in csv.DictReader(file)]
    broken = b"\n".join(line.replace(b",1,management,", b",1,astrology,") for line in lines)
    with pytest.raises(DataError) as refusal:
        medec.parse(broken, "broken.csv")
    named = [lines[problem.line - 1].split(b",")[0].decode() for problem in refusal.value.problems]
    assert len(named) == 168 and set(named) <= set(ids)


@needs_medec
def test_the_training_pairs():
    pairs = data.read_medec(TRAIN_PAIRS)
    assert len(pairs) == 1219
    kept = {case.id for case in data.deduplicate(pairs)}
    assert [case.id for case in pairs if case.id not in kept] == ["ms-train-1494"]
