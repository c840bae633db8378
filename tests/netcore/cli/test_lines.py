"""Lines of standard input, however they come."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.cli import lines as module
from netcore.cli.exits import UsageFault
from netcore.cli.lines import LineSplitter, read_lines


@given(
    st.lists(st.binary().filter(lambda b: b"\n" not in b and b[-1:] != b"\r")),
    st.data(),
)
def test_lines_cut_anywhere_are_the_same(given_lines, data):
    text = b"".join(
        line + data.draw(st.sampled_from([b"\n", b"\r\n"])) for line in given_lines
    )
    splitter, found, start = LineSplitter(), [], 0
    while start < len(text):
        size = data.draw(st.integers(1, len(text) - start))
        found += splitter.feed(text[start : start + size])
        start += size

    assert found + splitter.finish() == given_lines


def test_a_last_line_needs_no_end():
    splitter = LineSplitter()
    assert splitter.feed(b"one\n\ntwo") == [b"one", b""]
    assert splitter.finish() == [b"two"]
    assert splitter.finish() == []


def test_an_endless_line_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE", 10)
    splitter = LineSplitter()
    splitter.feed(b"x" * 10)
    with pytest.raises(UsageFault, match="longer than 10 bytes"):
        splitter.feed(b"x")


async def test_a_pipe_is_read_to_its_end():
    reader, writer = os.pipe()
    try:
        os.write(writer, b"one\ntw")
        source = read_lines(reader)
        assert await anext(source) == b"one"
        os.write(writer, b"o\nthree")
        assert await anext(source) == b"two"
        os.close(writer)
        assert [line async for line in source] == [b"three"]
    finally:
        os.close(reader)


async def test_a_file_and_nothing_are_read_alike(tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"one\ntwo\n")
    for name, expected in ((path, [b"one", b"two"]), (os.devnull, [])):
        descriptor = os.open(name, os.O_RDONLY)
        try:
            assert [line async for line in read_lines(descriptor)] == expected
        finally:
            os.close(descriptor)
