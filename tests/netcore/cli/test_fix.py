"""`netcore fix`: whole runs over logs."""

import io
import json
import sys

import pytest

from netcore.cli import main
from netcore.fix import checksum, encode

HEAD = [(8, "FIX.4.4"), (35, "D"), (34, 2), (49, "ME"), (56, "YOU")]
TIME = (52, "20240808-12:34:56.789")
ORDER = encode(
    [*HEAD, TIME, (11, "A1"), (55, "X"), (54, 1), (60, "20240808-12:34:56"), (40, 1)]
)
BEAT = encode([(8, "FIX.4.4"), (35, "0"), (34, 3), (49, "ME"), (56, "YOU"), TIME])


@pytest.fixture
def log(tmp_path):
    def write(*messages: bytes) -> str:
        path = tmp_path / "session.log"
        lines = (b"OUT " + m.replace(b"\x01", b"|") + b"\n" for m in messages)
        path.write_bytes(b"".join(lines))
        return str(path)

    return write


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_log_is_decoded(log, capsys):
    assert main(["fix", log(ORDER, BEAT)]) == 0

    shown = capsys.readouterr()
    assert "line 1  OUT  NewOrderSingle (D)  seq 2  from ME  to YOU" in shown.out
    assert "   54 Side                   = 1 (BUY)" in shown.out
    assert shown.err == (
        "netcore: 2 messages (1 NewOrderSingle, 1 Heartbeat), 0 garbled, "
        "8 bytes of other text\n"
    )


@pytest.mark.parametrize("kind", ["0", "Heartbeat"])
def test_types_are_chosen_by_code_or_name(log, capsys, kind):
    assert main(["fix", log(ORDER, BEAT), "--type", kind, "--json"]) == 0

    message, summary = events(capsys)
    assert (message["event"], message["name"], message["line"]) == (
        "message", "Heartbeat", 2,
    )  # fmt: skip
    assert summary["types"] == {"D": 1, "0": 1}


def test_brief_is_one_line_a_message(log, capsys):
    assert main(["fix", log(ORDER, BEAT), "--brief"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_garbled_lines_end_with_1(log, capsys):
    bad = ORDER[:-7] + b"10=%03d\x01" % ((checksum(ORDER[:-7]) + 7) % 256)

    assert main(["fix", log(BEAT, bad, BEAT), "--json"]) == 1

    first, garbled, second, summary = events(capsys)
    assert [first["event"], garbled["event"], second["event"]] == [
        "message", "garbled", "message",
    ]  # fmt: skip
    assert (garbled["line"], garbled["cause"][:8]) == (2, "CheckSum")
    assert (summary["garbled"], summary["invalid"]) == (1, None)


def test_a_check_finds_what_the_dictionary_forbids(log, capsys):
    wrong = encode([*HEAD, TIME, (11, "A1")])
    path = log(ORDER, wrong)

    assert main(["fix", path]) == 0
    capsys.readouterr()
    assert main(["fix", path, "--check"]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("INVALID") == 1
    assert "INVALID Required tag missing" in shown.out
    assert "1 invalid" in shown.err

    assert main(["fix", path, "--check", "--json"]) == 1
    ok, invalid, summary = events(capsys)
    assert "invalid" not in ok
    assert invalid["invalid"].startswith("Required tag missing")
    assert summary["invalid"] == 1


def test_standard_input_is_read(monkeypatch, capsys):
    class Input:
        buffer = io.BytesIO(ORDER + BEAT)

    monkeypatch.setattr(sys, "stdin", Input)

    assert main(["fix", "-", "--brief"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_missing_log_ends_with_2(tmp_path, capsys):
    assert main(["fix", str(tmp_path / "no.log")]) == 2
    assert "No such file" in capsys.readouterr().err
