"""`netcore inspect`: whole runs over recordings."""

import json
from pathlib import Path

import pytest

from netcore.cli import main
from netcore.clock import ManualClock
from netcore.fix import encode
from netcore.stream import Recorder
from netcore.ws import Opcode, encode_frame
from netcore.ws.closing import encode_close

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


@pytest.fixture
def feed(tmp_path):
    """A handshake, two messages in one read, a would-block, a ping, a close."""
    name = str(tmp_path / "feed")
    clock = ManualClock(0)
    with Recorder(name, clock=clock) as recorder:
        recorder.outbound(b"GET /x HTTP/1.1\r\nAuthorization: Basic x\r\n\r\n")
        recorder.outbound(encode_frame(Opcode.TEXT, b"subscribe", key=77))
        recorder.inbound(HEAD)
        clock.advance(0.25)
        recorder.inbound(
            encode_frame(Opcode.TEXT, b'{"price":1}')
            + encode_frame(Opcode.BINARY, b"\x00\x01")
        )
        recorder.inbound(None)
        clock.advance(1)
        recorder.inbound(encode_frame(Opcode.PING, b"hi"))
        recorder.inbound(encode_frame(Opcode.CLOSE, encode_close(1000, "bye")))
        recorder.inbound(b"")
    return name


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def events(capsys):
    return [json.loads(line) for line in lines(capsys)]


def test_frames_are_listed_with_times_and_totals(feed, capsys):
    assert main(["inspect", feed]) == 0

    shown = lines(capsys)
    rows = [line.split(None, 6) for line in shown[2:7]]
    assert rows[0] == [
        "number",
        "time",
        "offset",
        "opcode",
        "flags",
        "bytes",
        "payload",
    ]
    assert rows[1] == ["1", "+0.250000", "56", "text", "fin", "11", '{"price":1}']
    assert rows[2] == ["2", "+0.250000", "69", "binary", "fin", "2", "\\x00\\x01"]
    assert rows[4][3:] == ["close", "fin", "5", "1000 bye"]
    text = "\n".join(shown)
    assert "websocket, 84 B, 2 messages (1 text, 1 binary, 1 ping, 1 close)" in text
    assert "reads: 4, would-blocks: 1, the peer's end" in text
    assert "time: 1.25 s from first to last read" in text
    assert "time between reads: min 0 ns  p50 250 ms  p90 1.00 s" in text
    assert text.endswith("no problems")


def test_what_was_sent_is_listed_unmasked_and_without_secrets(feed, capsys):
    assert main(["inspect", feed, "--outbound"]) == 0

    text = capsys.readouterr().out
    assert "Authorization: ***" in text
    assert "fin mask" in text
    assert "subscribe" in text


def test_json_is_one_object_per_finding(feed, capsys):
    assert main(["inspect", feed, "--json"]) == 0

    head, *frames, summary = events(capsys)
    assert head["line"] == "HTTP/1.1 101 Switching Protocols"
    assert [frame["opcode"] for frame in frames] == ["text", "binary", "ping", "close"]
    assert frames[1]["head"] == {"text": "\x00\x01"}
    assert frames[0]["time_ns"] - head["time_ns"] == 250_000_000
    assert (summary["reads"], summary["attempts"], summary["ended"]) == (4, 6, True)
    assert summary["gap_ns"]["max"] == 1_000_000_000
    assert summary["problems"] == 0


def test_a_limit_ends_the_list_and_a_summary_has_none(feed, capsys):
    assert main(["inspect", feed, "--json", "--limit", "1"]) == 0
    assert [e["event"] for e in events(capsys)] == ["head", "frame", "summary"]

    assert main(["inspect", feed, "--json", "--summary"]) == 0
    assert [e["event"] for e in events(capsys)] == ["summary"]


def test_a_cut_recording_ends_with_1_and_says_where(feed, capsys):
    path = Path(f"{feed}_inbound.rec")
    path.write_bytes(path.read_bytes()[:-3])

    assert main(["inspect", feed]) == 1
    shown = lines(capsys)
    assert shown[-3] == "2 problems"
    assert shown[-2].endswith(
        "feed_inbound.rec at byte 81: 3 of the 7 bytes of read 3 are gone"
    )
    assert shown[-1] == "  inbound at byte 77: the last frame ends after 4 of 7 bytes"

    assert main(["inspect", feed, "--summary", "--json"]) == 1
    assert [e["event"] for e in events(capsys)] == ["problem", "problem", "summary"]


def test_fix_recordings_list_messages_and_damage(tmp_path, capsys):
    name = str(tmp_path / "fix")
    logon = encode([(8, "FIX.4.4"), (35, "A"), (34, 1), (49, "A"), (56, "B")])
    with Recorder(name) as recorder:
        recorder.inbound(logon)
        recorder.inbound(b"noise" + logon)

    assert main(["inspect", name]) == 1
    text = capsys.readouterr().out
    assert text.count("Logon (A)  seq 1  from A  to B") == 2
    assert "GARBLED 5 bytes: bytes outside of any message" in text

    assert main(["inspect", name, "--json"]) == 1
    kinds = [(e["event"], e.get("offset")) for e in events(capsys)]
    assert kinds[:3] == [
        ("message", 0), ("garbled", len(logon)), ("message", len(logon) + 5),
    ]  # fmt: skip


def test_other_bytes_are_listed_read_by_read(tmp_path, capsys):
    path = tmp_path / "dump"
    path.write_bytes(b"\x00\x01hello")

    assert main(["inspect", str(path)]) == 0
    assert lines(capsys)[0].split() == ["1", "-", "0", "7", "\\x00\\x01hello"]

    assert main(["inspect", str(path), "--json"]) == 0
    assert events(capsys)[0]["head"] == {"text": "\x00\x01hello"}


def test_the_kind_can_be_said(tmp_path, capsys):
    path = tmp_path / "frames"
    path.write_bytes(b"\x80\x01x")

    assert main(["inspect", str(path), "--as", "websocket"]) == 1
    assert "BROKEN: a continuation of nothing" in capsys.readouterr().out


def test_a_name_without_files_ends_with_2(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "neither a recording" in capsys.readouterr().err
