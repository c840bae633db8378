"""`netcore ws`: conversations with servers of every temper."""

import io
import json
import os
import signal
import ssl
import subprocess
import sys
from functools import partial

import pytest
import trio
import trustme

from netcore.cli.exits import Exit, NetcoreExit, UsageFault
from netcore.cli.output import Output
from netcore.cli.talk import Silence, race, run_interruptible
from netcore.cli.ws import MessagePrinter, talk
from netcore.errors import (
    ConnectError,
    ConnectionClosed,
    HandshakeError,
    InvalidURL,
    UntrustedCertificate,
)
from netcore.trio import Accept, Refuse
from netcore.ws import Batch, DeflateConfig, Opcode, WebSocketOptions


async def hold(ws):
    async for _ in ws:
        pass


async def test_lines_are_sent_and_answers_printed(
    serve, options, captured, interrupts, lines_of
):
    server = await serve()
    shown = captured(json=False)

    await talk(
        options("ws", server.url, "--send", "first", "--count", 3),
        shown.output, interrupts, lines_of(b"second", "drittés".encode()),
    )  # fmt: skip

    assert shown.lines == ["first", "second", "drittés"]
    assert shown.notes == [
        f"netcore: connected to {server.url}",
        "netcore: closed by local with code 1000",
    ]


async def test_json_tells_every_event(serve, options, captured, interrupts, lines_of):
    server = await serve(decide=lambda request: Accept(request.subprotocols[0]))
    shown = captured(json=True)
    arguments = ("--json", "--subprotocol", "v2", "--binary", "--count", 2)

    await talk(
        options("ws", server.url, *arguments), shown.output, interrupts,
        lines_of(b"\xff\x00", b"text"),
    )  # fmt: skip

    opened, *others, closed = shown.events
    assert opened == {
        "event": "open", "url": server.url, "subprotocol": "v2", "extensions": "",
    }  # fmt: skip
    sent = [e for e in others if e["event"] == "sent"]
    got = [e for e in others if e["event"] == "message"]
    assert [(e["type"], e["size"]) for e in sent] == [("binary", 2), ("binary", 4)]
    assert [e.get("base64", e.get("text")) for e in got] == ["/wA=", "text"]
    assert all(e["time_ns"] > 1e18 for e in got)
    assert closed == {"event": "close", "code": 1000, "reason": "", "by": "local"}


async def test_the_inputs_end_ends_it_after_the_linger(
    serve, options, captured, interrupts, lines_of, patient_clock
):
    server = await serve(hold)
    before = trio.current_time()

    await talk(
        options("ws", server.url, "--linger", 7),
        captured(json=False).output, interrupts, lines_of(b"only"),
    )  # fmt: skip

    assert trio.current_time() - before == pytest.approx(7)


async def test_a_duration_ends_it(serve, options, captured, interrupts, patient_clock):
    server = await serve(hold)
    shown = captured(json=False)

    await talk(
        options("ws", server.url, "--duration", 60, "--no-input"),
        shown.output, interrupts,
    )  # fmt: skip

    assert shown.notes[-1] == "netcore: closed by local with code 1000"


async def test_a_batch_is_cut_at_the_count(serve, options, captured, interrupts):
    async def flood(ws):
        ws.send_many([b"%d" % n for n in range(100)])
        await hold(ws)

    server = await serve(flood)
    shown = captured(json=False)

    await talk(
        options("ws", server.url, "--count", 5, "--no-input"), shown.output, interrupts
    )

    assert shown.lines == ["0", "1", "2", "3", "4"]


async def test_the_peers_orderly_end_is_no_failure(
    serve, options, captured, interrupts
):
    async def leave(ws):
        ws.send_text("bye")
        await ws.aclose(1001, "restart")

    server = await serve(leave)
    shown = captured(json=False)

    await talk(options("ws", server.url, "--no-input"), shown.output, interrupts)

    assert shown.lines == ["bye"]
    assert shown.notes[-1] == "netcore: closed by remote with code 1001 'restart'"


async def test_the_peers_complaint_is_a_failure(serve, options, captured, interrupts):
    server = await serve(lambda ws: ws.aclose(4001, "bad token"))
    shown = captured(json=True)

    with pytest.raises(ConnectionClosed, match="4001 'bad token'"):
        await talk(options("ws", server.url, "--no-input"), shown.output, interrupts)

    assert shown.events[-1] == {
        "event": "close", "code": 4001, "reason": "bad token", "by": "remote",
    }  # fmt: skip


async def test_silence_is_a_failure(
    serve, options, captured, interrupts, patient_clock
):
    server = await serve(hold)

    with pytest.raises(Silence, match=r"no message from 127\.0\.0\.1:.* for 3 s"):
        await talk(
            options("ws", server.url, "--no-input", "--silence", 3),
            captured(json=False).output, interrupts,
        )  # fmt: skip


async def test_a_refusal_is_a_failure_without_events(
    serve, options, captured, interrupts
):
    server = await serve(decide=lambda request: Refuse(403))
    shown = captured(json=True)

    with pytest.raises(HandshakeError, match="403"):
        await talk(options("ws", server.url, "--no-input"), shown.output, interrupts)

    assert shown.events == []


async def test_headers_origin_and_compression_are_asked_for(
    serve, options, captured, interrupts
):
    asked = []

    async def tell(ws):
        asked.append(ws.request)
        ws.send_text("x" * 500)
        await hold(ws)

    server = await serve(tell, options=WebSocketOptions(deflate=DeflateConfig()))
    shown = captured(json=True)
    await talk(
        options(
            "ws", f"{server.url}/p?q=1", "--no-input", "--count", 1, "--compress",
            "--header", "X-Key: a:b", "--origin", "http://o",
        ),
        shown.output, interrupts,
    )  # fmt: skip

    (request,) = asked
    assert (request.target, request.header("x-key"), request.header("origin")) == (
        "/p?q=1", "a:b", "http://o",
    )  # fmt: skip
    assert shown.events[0]["extensions"].startswith("permessage-deflate")
    assert shown.events[1]["text"] == "x" * 500


async def test_pings_keep_watch(serve, options, captured, interrupts, patient_clock):
    blocked = trio.Event()

    async def deaf(ws):
        await blocked.wait()

    server = await serve(deaf)
    with pytest.raises(ConnectionClosed, match="nothing came after a heartbeat"):
        await talk(
            options(
                "ws", server.url, "--no-input",
                "--ping-interval", 5, "--ping-timeout", 2,
            ),
            captured(json=False).output, interrupts,
        )  # fmt: skip
    blocked.set()


async def test_text_that_is_none_is_the_users_mistake(
    serve, options, captured, interrupts, lines_of
):
    server = await serve()

    with pytest.raises(UsageFault, match="not UTF-8"):
        await talk(
            options("ws", server.url), captured(json=False).output, interrupts,
            lines_of(b"\xff"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["http://x"], InvalidURL),
        (["ws://127.0.0.1:1", "--header", "bad name: x"], UsageFault),
        (["ws://127.0.0.1:1", "--subprotocol", "a b"], UsageFault),
        (["wss://127.0.0.1:1", "--ca", "/no/where.pem"], UsageFault),
        (["wss://127.0.0.1:1", "--ca", __file__], UsageFault),
        (["wss://127.0.0.1:1", "--cert", "/no/where.pem"], UsageFault),
        (["wss://127.0.0.1:1", "--ca", "x", "--insecure"], UsageFault),
        (["ws://127.0.0.1:1"], ConnectError),
    ],
)
async def test_what_cannot_begin_is_told(
    options, captured, interrupts, arguments, error
):
    with pytest.raises(error):
        await talk(
            options("ws", *arguments, "--no-input"),
            captured(json=False).output, interrupts,
        )  # fmt: skip


@pytest.mark.parametrize("wrong", [["--count", "0"], ["--duration", "inf"],
                                   ["--linger", "-1"], ["--header", "novalue"],
                                   ["--timeout", "soon"]])  # fmt: skip
def test_options_are_checked(options, wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        options("ws", "ws://x", *wrong)
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err


async def test_tls_trusts_what_it_is_told_to(
    serve, options, captured, interrupts, tmp_path
):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    pem = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    server = await serve(ssl_context=context)
    how = ("--no-input", "--send", "hi", "--count", 1)

    for trust in (["--ca", pem], ["--insecure"]):
        shown = captured(json=False)
        await talk(options("ws", server.url, *how, *trust), shown.output, interrupts)
        assert shown.lines == ["hi"]
    with pytest.raises(UntrustedCertificate):
        await talk(
            options("ws", server.url, *how), captured(json=False).output, interrupts
        )


async def test_a_servers_wish_for_a_certificate_is_met(
    serve, options, captured, interrupts, tmp_path
):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    pem = tmp_path / "client.pem"
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(
        str(pem)
    )
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    server = await serve(ssl_context=context)
    shown = captured(json=False)

    await talk(
        options("ws", server.url, "--no-input", "--send", "hi", "--count", 1,
                "--ca", ca, "--cert", pem),
        shown.output, interrupts,
    )  # fmt: skip

    assert shown.lines == ["hi"]


async def test_a_recording_is_made_on_the_way(
    serve, options, captured, interrupts, tmp_path
):
    server = await serve()
    name = tmp_path / "talk"
    arguments = (
        "ws",
        server.url,
        "--no-input",
        "--send",
        "hi",
        "--count",
        1,
        "--record",
        name,
    )

    await talk(options(*arguments), captured(json=False).output, interrupts)

    received = await trio.Path(f"{name}_inbound.rec").read_bytes()
    assert received.count(b"\x81\x02hi") == 1
    with pytest.raises(UsageFault, match="choose another name"):
        await talk(options(*arguments), captured(json=False).output, interrupts)
    await talk(
        options(*arguments, "--overwrite"), captured(json=False).output, interrupts
    )


async def test_no_empty_recording_is_left_behind(
    options, captured, interrupts, tmp_path
):
    with pytest.raises(ConnectError):
        await talk(
            options("ws", "ws://127.0.0.1:1", "--no-input", "--record", tmp_path / "x"),
            captured(json=False).output, interrupts,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


# -- signals -------------------------------------------------------------------------


async def test_the_first_signal_closes_in_order(serve, options, captured, interrupts):
    codes = []

    async def note(ws):
        try:
            await hold(ws)
        finally:
            codes.append(ws.close_code)

    server = await serve(note)
    shown = captured(json=False)

    async def interrupt():
        while not shown.notes:
            await trio.lowlevel.checkpoint()
        interrupts.interrupt()
        await trio.sleep_forever()

    await race(
        partial(
            talk, options("ws", server.url, "--no-input"), shown.output, interrupts
        ),
        interrupt,
    )

    assert codes == [1000]
    assert shown.notes[-1] == "netcore: closed by local with code 1000"


async def test_the_second_signal_cuts_the_closing_short(serve, options, captured):
    release, shown = trio.Event(), captured(json=False)

    async def deaf(ws):
        await release.wait()

    server = await serve(deaf)

    async def work(interrupts):
        async def interrupt():
            while not shown.notes:
                await trio.lowlevel.checkpoint()
            interrupts.interrupt()
            await trio.testing.wait_all_tasks_blocked()
            interrupts.interrupt()
            await trio.sleep_forever()

        opts = options("ws", server.url, "--no-input")
        await race(partial(talk, opts, shown.output, interrupts), interrupt)

    with pytest.raises(NetcoreExit) as caught:
        await run_interruptible(work)
    assert caught.value.code is Exit.INTERRUPTED
    release.set()


async def test_a_signal_while_connecting_has_nothing_to_finish(
    serve, options, captured
):
    async def never(stream):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, never, [listener])
        port = listener.socket.getsockname()[1]

        async def work(interrupts):
            async def interrupt():
                await trio.testing.wait_all_tasks_blocked()
                interrupts.interrupt()
                await trio.sleep_forever()

            opts = options("ws", f"ws://127.0.0.1:{port}", "--no-input")
            await race(
                partial(talk, opts, captured(json=False).output, interrupts), interrupt
            )

        with pytest.raises(NetcoreExit):
            await run_interruptible(work)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_process_closes_in_order_on_signals(serve, number):
    codes = []

    async def note(ws):
        ws.send_text("ready")
        try:
            await hold(ws)
        finally:
            codes.append(ws.close_code)

    server = await serve(note)
    command = [sys.executable, "-m", "netcore.cli", "ws", server.url, "--json"]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stderr is not None
    shown = b""
    while b"ready" not in shown:
        shown += await process.stdout.receive_some()
    process.send_signal(number)
    async for data in process.stdout:
        shown += data

    assert await process.wait() == 0
    assert json.loads(shown.splitlines()[-1])["event"] == "close"
    assert codes == [1000]
    await process.stdin.aclose()
    await process.stderr.aclose()


async def test_a_pipe_is_answered_and_its_end_closes(serve):
    server = await serve()
    done = await trio.run_process(
        [sys.executable, "-m", "netcore.cli", "ws", server.url, "--count", "2"],
        stdin=b"one\ntwo\n", capture_stdout=True, capture_stderr=True,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip

    assert done.stdout == b"one\ntwo\n"


# -- printing ------------------------------------------------------------------------


def test_a_terminal_is_not_steered_by_messages():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, text in ((Terminal(), "a\\x1b[2Jb"), (io.StringIO(), "a\x1b[2Jb")):
        printer = MessagePrinter(Output(out=out, err=io.StringIO()), "ws://x")
        printer.heard(Batch(1, [b"a\x1b[2Jb"], Opcode.TEXT))
        printer.heard(Batch(1, [b"\x00\x1b"], Opcode.BINARY))
        assert out.getvalue() == f"{text}\n\\x00\\x1b\n"


@pytest.mark.parametrize(("how", "last"), [(["--count", 1], "late"), ([], None)])
async def test_a_count_is_waited_for_beyond_the_inputs_end(
    serve, options, captured, interrupts, lines_of, patient_clock, how, last
):
    async def slow(ws):
        await ws.receive_text()
        with trio.move_on_after(30):
            await hold(ws)
        ws.send_text("late")
        await hold(ws)

    server = await serve(slow)
    shown = captured(json=False)

    await talk(
        options("ws", server.url, *how), shown.output, interrupts, lines_of(b"hi")
    )

    assert shown.lines == ([] if last is None else [last])
