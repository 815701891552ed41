"""What pages tell: the latest games, the probes of a judge, one that is vouched for, where a resume can go on."""

from types import SimpleNamespace

import written_run
from test_judge_check import SOME, judge_server
from test_judge_http import Known
from test_pages_gone import ID, shared, without_components  # noqa: F401

from app import form, judge_view, latest
from app.pages import history, run
from launcher import settings
from launcher.rundir import RunDir
from launcher.store_probes import ProbeCount
from medical_team.judge import check, report
from medical_team.judge.check import Wanted
from medical_team.judge.reference import ReferenceJudge
from medical_team.judge.settings import JudgeSettings
from medical_team.types import Label


def test_the_latest_games_link_to_themselves_and_are_only_text(shared):  # noqa: F811
    other = "20260203-040506-bcde"
    games = [written_run.game(other, number, number + 1, written_run.HOSTILE) for number in range(7)]
    written_run.write(shared.runs.folder, other, games, steps=9)
    shared.runs.refresh(shared.store)
    lines = list(map(str, latest.lines(shared.store, other)))
    assert len(lines) == latest.GAMES and "step 7" in lines[0] and " won" in lines[0]
    assert f"?run={other}&amp;tab=games&amp;game=g-6" in lines[0]
    assert "<img" not in "".join(lines) and "<script" not in "".join(lines)
    assert latest.lines(shared.store, "nonsense") == []


def test_probes_are_counted_by_kind_and_label():
    found = [ProbeCount("dose", "Harmful", "Harmful", 5), ProbeCount("dose", "Harmful", "Safe", 2),
             ProbeCount("typo", "Safe", None, 1)]  # fmt: skip
    said = str(judge_view.probes(found))
    rows = [row.split("</tr>")[0] for row in said.split("<tr>")[2:]]
    cells = [[cell.split("</td>")[0] for cell in row.split("<td>")[1:]] for row in rows]
    assert cells == [["dose", "Harmful", "5", "2", "0"], ["typo", "Safe", "0", "0", "1"]]
    assert "No probe yet" in str(judge_view.probes([]))


def test_a_judge_within_its_bounds_is_told_of_beside_start(fake):
    here = fake("done")
    page = SimpleNamespace(shared=SimpleNamespace(runs=here))
    with judge_server(Known(Label.HARMFUL)) as url:
        values = settings.of_preset("cpu-demo") | {"judge.kind": "server", "judge.url": url}
        config = form.resolve("cpu-demo", values)
        assert run.vouched(page, config) == []
        wanted = Wanted(settings=JudgeSettings(kind="server", url=url), runs=here.folder, each=1, seed=1)
        found = check.check(wanted, ReferenceJudge())
        good = report.rates([one for one in SOME if one.label is one.expected])
        report.write(here.folder, found.model_copy(update={"judge": "fixed-1", "rates": good}))
        (told,) = run.vouched(page, config)
    assert told.text.startswith("last check of fixed-1: misses 0%, over-flags 0%")
    assert run.vouched(page, config) == [], "it does not answer: the preflight says so"


def test_a_resume_may_go_on_from_any_checkpoint_before_the_end(shared):  # noqa: F811
    page = without_components(history.Page, shared)
    actor = RunDir(shared.runs.folder / ID).checkpoints / "_actor"
    assert [choice for choice in page.detail(ID) if getattr(choice, "label", "") == "Resume from"][0].visible is False
    for step in (1, 2, 3):
        (actor / f"global_step{step}").mkdir(parents=True)
    (actor / "latest").write_text("global_step3")
    (since,) = [one for one in page.detail(ID) if getattr(one, "label", "") == "Resume from"]
    assert since.visible and [value for _, value in since.choices] == ["", "2", "1"]
    assert since.value == history.NEWEST
