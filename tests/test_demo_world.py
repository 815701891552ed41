import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from medical_team import demo_world
from medical_team.demo_text import GRAMMAR, WORDS, draw_layout
from medical_team.demo_world import (
    KINDS,
    broken,
    cases,
    checks,
    compare,
    damage,
    demonstrate_assessor,
    demonstrate_attacker,
    draw_facts,
    is_demo_note,
    is_faithful,
    read_note,
    slots,
    write,
)
from medical_team.judge.rules import TABLES, UNREADABLE, WORLD, load_world
from medical_team.parsing import parse_reply
from medical_team.types import ErrorType, Label

CLEAN = (
    "A 45-year-old patient presents with heel pain on first steps. The diagnosis is plantar fasciitis. "
    "There is a known penicillin allergy. We also started naproxen 500 mg daily. The plan is calf stretching."
)
AT_HOME = CLEAN.replace("There is a known penicillin allergy.", "The patient takes lithium at home.").replace(
    "naproxen 500", "atorvastatin 20"
)


# Tables


def test_every_drug_has_a_class_that_is_an_allergy_and_doses_that_a_slip_of_ten_leaves():
    for drug, doses in WORLD.doses_mg.items():
        assert drug in WORLD.contraindicated[WORLD.drug_class[drug]]
        assert list(doses) == sorted(doses) and len(doses) >= 2
        for dose in doses:
            assert dose * 10 > doses[-1] and dose / 10 < doses[0]


def test_contraindicated_drugs_are_exactly_those_of_the_class():
    for allergy, drugs in WORLD.contraindicated.items():
        assert drugs == {drug for drug, its_class in WORLD.drug_class.items() if its_class == allergy}


def test_interactions_name_known_drugs_and_leave_some_to_prescribe():
    for home, drugs in WORLD.interacts.items():
        assert drugs and drugs <= WORLD.doses_mg.keys() and WORLD.unclear[home] <= WORLD.doses_mg.keys()
        assert not drugs & WORLD.unclear[home]
        assert len(WORLD.doses_mg.keys() - drugs - WORLD.unclear[home]) >= 5


def test_a_class_that_clashes_with_a_home_medication_does_so_wherever_the_table_is_clear():
    for home, drugs in WORLD.interacts.items():
        classes = {WORLD.drug_class[drug] for drug in drugs}
        same_class = {drug for drug, its_class in WORLD.drug_class.items() if its_class in classes}
        assert same_class - WORLD.unclear[home] == drugs


def test_no_name_of_one_slot_stands_inside_a_name_of_another():
    everything = [(slot, wording) for slot, wordings in WORLD.names.items() for wording in wordings]
    for slot, wording in everything:
        for other, longer in everything:
            if slot != other:
                assert not re.search(rf"\b{re.escape(wording)}s?\b", longer), (slot, wording, other, longer)


def test_a_repeated_name_in_the_tables_would_be_seen():
    rows = json.loads(TABLES.read_text(encoding="utf-8"))["conditions"]
    for field in ("finding", "diagnosis", "management"):
        assert len({row[field] for row in rows}) == len(rows)


def test_the_world_is_what_the_file_says(tmp_path):
    table = json.loads(TABLES.read_text(encoding="utf-8"))
    table["drugs"]["naproxen"]["doses_mg"] = [250, 500]
    (tmp_path / "world.json").write_text(json.dumps(table), encoding="utf-8")
    assert load_world(tmp_path / "world.json").doses_mg["naproxen"] == (250, 500)


# Cases


@pytest.fixture(scope="module")
def thousand():
    return cases(1000, seed=11)


def test_cases_are_balanced_distinct_and_broken_in_exactly_one_fact(thousand):
    assert Counter(case.error_types for case in thousand) == {(kind,): 200 for kind in KINDS}
    plain = {re.sub(r"\W+", " ", note.lower()).strip() for case in thousand for note in (case.clean, case.error)}
    assert len(plain) == 2000
    assert [case.id for case in thousand[:2]] == ["demo-11-0", "demo-11-1"]
    assert {case.source for case in thousand} == {"demo"}


def test_the_rule_makes_no_mistake_on_two_thousand_notes(thousand):
    for case in thousand:
        (kind,) = case.error_types
        same, wrong = compare(case.clean, case.clean), compare(case.clean, case.error)
        assert (same.harmful, same.same_facts, same.errors) == (False, True, ())
        assert (wrong.harmful, wrong.same_facts, wrong.errors) == (True, False, (kind,))
        assert is_faithful(same, None) and is_faithful(wrong, kind)


def test_the_rule_makes_no_mistake_on_rewordings(thousand):
    rng = random.Random(5)
    for case in thousand:
        (kind,) = case.error_types
        for note, asked in ((case.clean, None), (case.error, kind)):
            facts = read_note(note)
            assert is_faithful(compare(case.clean, write(facts, draw_layout(rng, slots(facts)))), asked)


def test_cases_depend_on_the_seed_alone(thousand):
    assert cases(50, seed=11) == thousand[:50]
    assert not {case.clean for case in cases(50, seed=12)} & {case.clean for case in thousand}


def test_notes_are_of_usual_length_and_do_not_read_like_one_form(thousand):
    assert all(len(case.clean.split()) in WORDS for case in thousand)
    forms = set()
    for case in thousand:
        said = slots(read_note(case.clean)).values()
        forms.add(re.sub("|".join(map(re.escape, sorted(said, key=len, reverse=True))), "_", case.clean))
    assert len(forms) > 900


def test_every_template_of_the_grammar_is_used(thousand):
    text = " ".join(case.clean for case in thousand)
    for templates in (*GRAMMAR.sentences.values(), GRAMMAR.openers, GRAMMAR.fillers):
        for template in templates:
            assert re.search(re.sub(r"\\\{\w+\\\}", "[^.;:]+", re.escape(template)), text), template


@pytest.mark.parametrize("kind", KINDS)
def test_damage_breaks_what_it_says(kind):
    rng = random.Random(3)
    for _ in range(200):
        facts = draw_facts(rng, demo_world.NEEDS.get(kind))
        assert broken(facts) == () and broken(damage(facts, kind, rng)) == (kind,)


def test_a_note_without_an_allergy_cannot_have_a_contraindication():
    with pytest.raises(KeyError):
        damage(read_note(AT_HOME), ErrorType.CONTRAINDICATION, random.Random(0))


# The reader, on notes that no template wrote

BY_HAND = {
    # clean, in other words, order and case
    "Heel pain on first steps in a patient aged 45. Known allergy to penicillin. It is plantar fasciitis; calf "
    "stretching was advised, and naproxen 500 mg once daily for the pain.": (),
    "45 y/o with PLANTAR FASCIITIS (heel pain on first steps). Penicillin-allergic. Rx: Naproxen 500mg every day. "
    "Calf stretches shown.": (),
    "History: heel pain on first steps, 45 years old. Anaphylaxis after penicillins in childhood. Naproxen at a dose "
    "of 0.5 g each day. Diagnosed with plantar fasciitis and taught calf stretching.": (),
    "The patient, aged 45, is allergic to penicillin and has no other allergies. There was no fever. Heel pain on "
    "first steps means plantar fasciitis. Naproxen, 1,000 mg daily. Next step: calf stretching.": (),
    # one fact broken
    "45-year-old, penicillin allergy, heel pain on first steps: plantar fasciitis. Calf stretching. Naproxen 5000 mg "
    "daily.": (ErrorType.DOSAGE,),
    "Naproxen 50 mg daily was what we gave this 45-year-old with heel pain on first steps, allergic to penicillin. "
    "Plantar fasciitis, so calf stretching.": (ErrorType.DOSAGE,),
    "Allergic to penicillin, aged 45, heel pain on first steps. Gout was diagnosed. Naproxen 500 mg daily and "
    "calf stretching.": (ErrorType.DIAGNOSIS,),
    "Plantar fasciitis explains the heel pain on first steps of this 45-year-old. Permethrin cream is the plan. "
    "Naproxen 500 mg daily. Penicillin allergy on file.": (ErrorType.MANAGEMENT,),
    "Because of heel pain on first steps from plantar fasciitis a 45-year-old gets calf stretching. The chart says "
    "penicillin allergy. Started amoxicillin 1500 mg daily.": (ErrorType.CONTRAINDICATION,),
    "Because of heel pain on first steps from plantar fasciitis a 45-year-old gets calf stretching. The chart says "
    "NSAID allergy. Started naproxen 500 mg daily.": (ErrorType.CONTRAINDICATION,),
    # two facts broken
    "45-year-old allergic to penicillin. Heel pain on first steps, hence gout. Calf stretching. Ampicillin 9 g daily": (
        ErrorType.DOSAGE,
        ErrorType.DIAGNOSIS,
        ErrorType.CONTRAINDICATION,
    ),
}


@pytest.mark.parametrize(("note", "errors"), BY_HAND.items())
def test_the_reader_reads_notes_written_by_hand(note, errors):
    reading = compare(CLEAN, note)
    assert reading.harmful is bool(errors)
    assert reading.errors == errors


def test_an_interaction_is_read_in_other_words():
    note = (
        "On lithium for many years, this 45-year-old has plantar fasciitis with heel pain on first steps. Calf "
        "stretching began. Lisinopril 10 mg per day was added."
    )
    reading = compare(AT_HOME, note)
    assert reading.errors == (ErrorType.DRUG_INTERACTION,)
    assert reading.changed == {"drug", "dose_mg"}
    assert is_faithful(reading, ErrorType.DRUG_INTERACTION) and not is_faithful(reading, None)


UNCLEAR = {
    "two doses": CLEAN + " Later 1000 mg daily.",
    "a range of doses": CLEAN.replace("500 mg", "250-500 mg"),
    "a range of doses in words": CLEAN.replace("500 mg", "250 to 500 mg"),
    "two drugs": CLEAN.replace("naproxen", "naproxen or ibuprofen"),
    "a drug said twice": CLEAN + " The naproxen is for pain.",
    "two ages": CLEAN + " Looks aged 50.",
    "another number": CLEAN + " Pulse 80.",
    "two diagnoses": CLEAN.replace("plantar fasciitis", "plantar fasciitis, perhaps gout"),
    "dose left out": CLEAN.replace(" 500 mg", ""),
    "dose without a unit": CLEAN.replace(" mg", ""),
    "twice a day": CLEAN.replace("daily", "twice daily"),
    "every hour": CLEAN.replace("daily", "each hour"),
    "by the hour": CLEAN.replace("daily", "per hour"),
    "by weight": CLEAN.replace("500 mg", "500 mg/kg"),
    "weekly": CLEAN.replace("daily", "weekly"),
    "allergy denied": CLEAN.replace("There is a known penicillin allergy", "The patient is not allergic to penicillin"),
    "allergy denied before": CLEAN.replace("There is a known penicillin", "The patient denies penicillin"),
    "no allergy": CLEAN.replace("There is a known", "There is no"),
    "allergy of another": CLEAN.replace("There is a known penicillin", "The mother has a penicillin"),
    "allergy left out": CLEAN.replace("There is a known penicillin allergy. ", ""),
    "a class without an allergy": CLEAN.replace("There is a known penicillin allergy", "Recently had penicillin"),
    "allergy and home medication": CLEAN + " Takes lithium.",
    "two allergies": CLEAN.replace("penicillin allergy", "penicillin and statin allergy"),
    "allergic to the drug": CLEAN.replace("There is a known", "Allergic to naproxen, also"),
    "diagnosis ruled out": CLEAN.replace("The diagnosis is plantar fasciitis", "Plantar fasciitis was ruled out"),
    "diagnosis taken back later": CLEAN + " This was later excluded.",
    "diagnosis denied": CLEAN.replace("The diagnosis is", "There is no evidence of"),
    "diagnosis denied in short": CLEAN.replace("The diagnosis is", "It isn't"),
    "diagnosis denied by a pronoun": CLEAN.replace("fasciitis.", "fasciitis. It is not."),
    "diagnosis asked": CLEAN.replace("plantar fasciitis.", "plantar fasciitis?"),
    "diagnosis unlikely": CLEAN.replace("The diagnosis is", "Unlikely:"),
    "finding denied": CLEAN.replace("presents with", "denies"),
    "finding without": CLEAN.replace("presents with", "is without"),
    "plan declined": CLEAN.replace("The plan is", "The patient declined"),
    "plan dropped": CLEAN + " The plan was cancelled.",
    "drug stopped": CLEAN.replace("We also started", "We stopped"),
    "drug never given": CLEAN.replace("We also started", "We never gave"),
    "drug given instead": CLEAN.replace("We also started", "Instead of"),
    "home medication stopped": AT_HOME.replace("The patient takes lithium", "The patient no longer takes lithium"),
    "home medication of another": AT_HOME.replace("The patient takes lithium", "The wife takes lithium"),
    "home medication as allergy": AT_HOME.replace("The patient takes lithium at home", "Allergic to lithium"),
    "pair that the tables leave open": AT_HOME.replace("atorvastatin 20", "doxycycline 100"),
    "unknown drug": CLEAN.replace("naproxen", "paracetamol"),
    "a longer word": CLEAN.replace("naproxen", "naproxenol"),
    "another text": "The patient is well.",
    "nothing": "",
}


@pytest.mark.parametrize("note", UNCLEAR.values(), ids=UNCLEAR.keys())
def test_where_a_fact_is_left_open_there_is_no_reading(note):
    assert note not in (CLEAN, AT_HOME)
    assert read_note(note) is None and not is_demo_note(note)
    assert compare(CLEAN, note) == UNREADABLE


def test_units_and_aliases_are_the_same_fact():
    note = CLEAN.replace("500 mg", "0.5 g").replace("calf stretching", "calf stretches").replace("45-year-old", "45 yo")
    assert compare(CLEAN, note).same_facts


def test_a_changed_fact_that_breaks_nothing_is_safe_and_unfaithful():
    reading = compare(CLEAN, CLEAN.replace("500 mg", "1000 mg"))
    assert (reading.harmful, reading.same_facts, reading.changed) == (False, False, {"dose_mg"})
    assert not is_faithful(reading, None) and not is_faithful(reading, ErrorType.DOSAGE)


def test_an_error_that_changes_more_than_was_asked_is_unfaithful():
    reading = compare(CLEAN, CLEAN.replace("500 mg", "5000 mg").replace("45-", "50-"))
    assert reading.errors == (ErrorType.DOSAGE,) and not is_faithful(reading, ErrorType.DOSAGE)
    assert not is_faithful(compare(CLEAN, CLEAN.replace("500 mg", "5000 mg")), ErrorType.DIAGNOSIS)


def test_a_reference_that_is_no_demo_note_is_an_error():
    with pytest.raises(ValueError, match="reference"):
        compare("The patient is well.", CLEAN)


def test_a_dose_is_judged_by_the_ends_of_its_range():
    facts = read_note(CLEAN)
    low, high = WORLD.doses_mg["naproxen"][0], WORLD.doses_mg["naproxen"][-1]
    assert broken(replace(facts, dose_mg=low)) == broken(replace(facts, dose_mg=high)) == ()
    assert broken(replace(facts, dose_mg=low - 1)) == broken(replace(facts, dose_mg=high + 1)) == (ErrorType.DOSAGE,)


# Demonstrations


def test_a_diligent_assessor_is_always_right(thousand):
    rng = random.Random(2)
    for case in thousand[:200]:
        for note, truth in ((case.clean, Label.SAFE), (case.error, Label.HARMFUL)):
            parsed = parse_reply(demonstrate_assessor(read_note(note), rng, diligence=1.0))
            assert parsed.ok and parsed.answer == truth
            assert parsed.thinking.endswith("wrong." if truth is Label.HARMFUL else "fine.")


def test_a_careless_assessor_guesses():
    rng = random.Random(2)
    said = Counter(parse_reply(demonstrate_assessor(read_note(CLEAN), rng, diligence=0.0)).answer for _ in range(400))
    assert set(said) == {"Safe", "Harmful"} and min(said.values()) > 150


def test_the_four_checks_find_what_the_rule_finds():
    rng = random.Random(4)
    for _ in range(200):
        facts = draw_facts(rng)
        for kind in KINDS:
            if kind not in demo_world.NEEDS or getattr(facts, demo_world.NEEDS[kind]):
                assert [holds for _, holds in checks(damage(facts, kind, rng))].count(False) == 1
        assert all(holds for _, holds in checks(facts)) and len(checks(facts)) == 4


def test_a_faultless_attacker_does_what_was_asked(thousand):
    rng = random.Random(7)
    for case in thousand[:300]:
        (kind,) = case.error_types
        for note, asked in ((case.clean, None), (case.clean, kind), (case.error, kind)):
            parsed = parse_reply(demonstrate_attacker(read_note(note), asked, rng, faulty=0.0))
            assert parsed.ok and is_faithful(compare(case.clean, parsed.answer), asked)


def test_a_faulty_attacker_does_not(thousand):
    rng = random.Random(7)
    for case in thousand[:100]:
        (kind,) = case.error_types
        for note, asked in ((case.clean, None), (case.error, kind)):
            answer = parse_reply(demonstrate_attacker(read_note(note), asked, rng, faulty=1.0)).answer
            assert not is_faithful(compare(case.clean, answer), asked)


def test_a_faulty_attacker_overdoes_it(thousand):
    rng = random.Random(7)
    for case in thousand[:100]:
        answer = parse_reply(demonstrate_attacker(read_note(case.error), case.error_types[0], rng, faulty=1.0)).answer
        assert not any(holds for _, holds in checks(read_note(answer)))


def test_the_world_needs_no_engine():
    code = "import sys, medical_team.demo_world, medical_team.demo_model; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
