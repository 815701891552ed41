import tracemalloc

import pytest
import written_run

from launcher import log_window
from launcher.log_window import Level, Wanted, around, onward, window


@pytest.fixture
def log(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "train.log"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def texts(found):
    return [line.text for line in found.lines]


def test_the_end_of_a_log(log):
    path = log("".join(f"line {number}\n" for number in range(1000)))
    found = window(path, most=3)
    assert texts(found) == ["line 997", "line 998", "line 999"]
    assert (found.end, found.size) == (path.stat().st_size,) * 2


def test_a_line_that_is_being_written_is_shown(log):
    assert texts(window(log("whole\nhalf"))) == ["whole", "half"]


@pytest.mark.parametrize("block", [64, 1000, 256 * 1024])
def test_turning_pages_back_and_on_meets_every_line_once(log, monkeypatch, block):
    monkeypatch.setattr(log_window, "BLOCK", block)
    lines = [f"line {number} {'x' * (number % 40)}" for number in range(500)]
    path = log("\n".join(lines) + "\n")
    found, back = window(path, most=37), []
    while found.lines:
        back = texts(found) + back
        found = window(path, found.start, most=37)
    assert back == lines
    found, on = onward(path, 0, most=37), []
    while found.lines:
        on += texts(found)
        found = onward(path, found.end, most=37)
    assert on == lines


def test_colours_are_gone_and_bars_are_in_their_last_state(log):
    bars = "".join(f"(A pid=3) Episode: {share:3}%|##| {share}/100\n(A pid=3) \n" for share in range(0, 101, 10))
    path = log(f"\x1b[36mblue\x1b[0m\x1b[A\n{bars}Loading:   0%| | 0/2\rLoading: 100%|#| 2/2\nafter\n")
    assert texts(window(path)) == ["blue", "(A pid=3) Episode: 100%|##| 100/100", "Loading: 100%|#| 2/2", "after"]


def test_levels_and_a_traceback_that_belongs_to_its_error(log):
    path = log(written_run.log(1, "lost"))
    levels = {line.text.split()[0]: line.level for line in window(path).lines}
    assert levels["Traceback"] == levels["File"] == levels["ValueError:"] == Level.ERROR
    assert [line.level for line in window(path).lines if "low memory" in line.text] == [Level.WARNING]
    assert texts(window(path, wanted=Wanted(Level.ERROR)))[0] == "Traceback (most recent call last):"


def test_lines_are_found_in_whatever_case_and_far_from_the_end(log):
    path = log("The Needle\n" + "hay\n" * 200_000)
    assert texts(window(path, wanted=Wanted(text="needle"))) == ["The Needle"]
    assert texts(onward(path, 0, wanted=Wanted(text="NEEDLE"))) == ["The Needle"]


def test_a_search_ends_after_its_budget_and_can_go_on(log, monkeypatch):
    monkeypatch.setattr(log_window, "BUDGET", 100_000)
    monkeypatch.setattr(log_window, "BLOCK", 10_000)
    path = log("needle\n" + "hay\n" * 100_000)
    found = window(path, wanted=Wanted(text="needle"))
    assert found.lines == () and found.start > 0
    while not found.lines:
        found = window(path, found.start, Wanted(text="needle"))
    assert texts(found) == ["needle"]


def test_the_phase_stands_where_it_changes(log):
    path = log(
        "(P pid=1) Generate samples: 1%|#| 1/2\n(P pid=1) INFO 11-22 13:56:51 m.py:1] Starting experience making\n"
        "Train epoch [1/1]: 1%|#| 1/2\nupdate weight: a\nupdate weight: b\n"
    )
    assert [line.phase for line in window(path).lines] == [
        "generating", "making experience", "training", "broadcasting", None
    ]  # fmt: skip


def test_around_a_line(log):
    lines = [f"line {number}" for number in range(1000)]
    path = log("\n".join(lines) + "\n")
    offset = path.read_bytes().index(b"line 500\n")
    found = around(path, offset, most=10)
    assert texts(found) == lines[495:505]
    assert [line.text for line in found.lines if line.offset == offset] == ["line 500"]


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n", "x"])
def test_small_logs(log, text):
    assert texts(window(log(text))) == [line for line in text.split("\n") if line]


def test_bytes_that_are_no_text_are_shown_as_such(log):
    assert texts(window(log(b"a \xff b\n"))) == ["a \\xff b"]


def test_a_log_that_does_not_exist_yet_is_empty(tmp_path):
    assert window(tmp_path / "train.log") == log_window.Window((), 0, 0, 0)


@pytest.mark.parametrize("line", [b"line of a log that says something\n", b"x"])
def test_the_memory_taken_does_not_grow_with_the_log(log, line):
    path = log(b"")
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)
        file.seek(0, 2)
        file.write(line * (8 * 1024 * 1024 // len(line)))
    tracemalloc.start()
    found = window(path, wanted=Wanted(text="not to be found"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.size > 10 * 1024**3 and not found.lines
    assert peak < 32 * 1024 * 1024
