import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher import tail
from launcher.tail import Line


def test_a_file_that_does_not_exist_yet_is_empty(tmp_path):
    assert tail.read(tmp_path / "train.log", 0) == ([], 0)
    assert tail.size(tmp_path / "train.log") == 0
    assert tail.rest(tmp_path / "train.log", 0, 100) is None


def test_lines_end_at_a_newline_alone(tmp_path):
    path = tmp_path / "log"
    path.write_bytes("bar\r50%\r100%\nU+2028 \u2028 and \x85 \x0c \x1c\n\ntorn \u2028".encode())
    chunk = tail.read(path, 0)
    assert [line.text.decode() for line in chunk.lines] == ["bar\r50%\r100%", "U+2028 \u2028 and \x85 \x0c \x1c", ""]
    assert tail.read(path, chunk.offset) == ([], chunk.offset)
    assert tail.rest(path, chunk.offset, 4) == Line(chunk.offset, b"torn")


def test_a_torn_line_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    first = tail.read(path, 0)
    with path.open("ab") as file:
        file.write(b"o\n")
    second = tail.read(path, first.offset)
    assert first == ([Line(0, b"one")], 4)
    assert second == ([Line(4, b"two")], 8)
    assert tail.rest(path, second.offset, 100) is None


def test_a_shorter_file_is_an_error_that_names_both_lengths(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    with pytest.raises(tail.Truncated, match="has 4 bytes, but 9 were read"):
        tail.read(path, 9)


def test_a_line_longer_than_a_chunk_comes_whole(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"b" * 5000 + b"\nc\n")
    assert [len(line.text) for line in tail.read(path, 2, limit=64).lines] == [5000]


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 40))
def test_chunks_give_every_line_once_at_its_offset(tmp_path_factory, content, limit):
    path = tmp_path_factory.mktemp("tail") / "log"
    path.write_bytes(content)
    lines, offset = [], 0
    while chunk := tail.read(path, offset, limit):
        if not chunk.lines:
            break
        lines += chunk.lines
        offset = chunk.offset
    assert [line.text for line in lines] == content.split(b"\n")[:-1]
    assert all(content[line.offset :].startswith(line.text + b"\n") for line in lines)
    assert offset == content.rfind(b"\n") + 1
