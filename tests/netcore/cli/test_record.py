"""`netcore record`: sessions written down, and what is said about them."""

import io

import pytest
import trio

from netcore.cli.output import Output
from netcore.cli.record import Tally, record
from netcore.cli.talk import race
from netcore.errors import ConnectionClosed
from netcore.stream import Recorder, ReplayStream
from netcore.ws import WebSocket


async def count(ws):
    ws.send_many([b"%d" % n for n in range(10)])
    async for _ in ws:
        pass


async def test_a_session_is_recorded_and_can_be_replayed(
    serve, options, captured, interrupts, tmp_path
):
    server = await serve(count)
    shown, name = captured(json=True), tmp_path / "feed"

    await record(
        options("record", server.url, name, "--count", 10, "--json"),
        shown.output, interrupts,
    )  # fmt: skip

    (summary,) = shown.events
    assert (summary["messages"], summary["bytes"], summary["path"]) == (
        10,
        10,
        str(name),
    )
    assert (summary["code"], summary["by"]) == (1000, "local")
    assert summary["reads"] >= 1
    with WebSocket(ReplayStream(name, would_blocks=False)) as again:
        while (batch := again.read_batch()) is None:
            pass
    assert batch.payloads == [b"%d" % n for n in range(10)]


async def test_a_summary_for_people(serve, options, captured, interrupts, tmp_path):
    async def leave(ws):
        ws.send_text("x" * 2000)
        await ws.aclose(1001, "tonight")

    server = await serve(leave)
    shown = captured(json=False)

    await record(
        options("record", server.url, tmp_path / "a"), shown.output, interrupts
    )

    assert shown.notes == [f"netcore: recording {server.url} to {tmp_path}/a_*.rec"]
    (line,) = shown.lines
    assert line.startswith("1 messages, 2.0 KiB in ")
    assert line.endswith("closed by remote with code 1001 'tonight'")


async def test_a_failure_leaves_the_recording_and_its_summary(
    serve, options, captured, interrupts, tmp_path
):
    async def fail(ws):
        ws.send_text("last words")
        await ws.aclose(1011, "oops")

    server = await serve(fail)
    shown, name = captured(json=True), tmp_path / "feed"

    with pytest.raises(ConnectionClosed, match="1011"):
        await record(
            options("record", server.url, name, "--json"), shown.output, interrupts
        )

    assert (shown.events[0]["messages"], shown.events[0]["code"]) == (1, 1011)
    assert (tmp_path / "feed_inbound_seq.rec").stat().st_size >= 16


async def test_who_watches_sees_it_grow(tmp_path, autojump_clock):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    output = Output(out=io.StringIO(), err=err)
    with Recorder(tmp_path / "x") as recorder:
        tally = Tally(output, "ws://x", "x", recorder)

        async def wait():
            await trio.sleep(1.5)
            tally.opened(None)
            await trio.sleep(2)

        await race(wait, tally.show)

    assert err.getvalue().count("\r\x1b[K0 messages, 0 B in 0 reads") == 2
