"""`netcore replay`: recordings printed and served, and clients held against them."""

import pytest
import trio

from netcore.cli.exits import UsageFault
from netcore.cli.playback import ClientDiverged, Expected, look_at, recorded_messages
from netcore.cli.replay import replay
from netcore.cli.talk import Interrupts
from netcore.clock import ManualClock
from netcore.errors import ConnectionClosed, HandshakeError, RecordingError
from netcore.fix import encode
from netcore.stream import Recorder
from netcore.trio import Accept, open_websocket
from netcore.ws import DeflateConfig, Frame, Opcode, WebSocketOptions, encode_frame
from netcore.ws.closing import encode_close

UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
HEAD = b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE + b"\r\n"
REQUEST = b"GET /feed HTTP/1.1\r\nHost: venue\r\n" + UPGRADE
REQUEST += (
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
)


def text(payload: bytes) -> bytes:
    return encode_frame(Opcode.TEXT, payload)


def close(code: int, reason: str = "") -> bytes:
    return encode_frame(Opcode.CLOSE, encode_close(code, reason))


@pytest.fixture
def record(tmp_path):
    def write(*reads: bytes | None, sent: bytes = b"", gap: float = 1.0) -> str:
        name = str(tmp_path / "feed")
        clock = ManualClock(5_000_000_000)
        with Recorder(name, clock=clock, overwrite=True) as recorder:
            recorder.outbound(sent)
            for data in reads:
                recorder.inbound(data)
                clock.advance(gap)
        return name

    return write


async def test_messages_are_printed_and_the_close_is_told(
    record, options, captured, interrupts
):
    name = record(HEAD + text(b"a"), None, text(b"b") + close(1000, "bye"))
    shown = captured(json=False)

    await replay(options("replay", name), shown.output, interrupts)

    assert shown.lines == ["a", "b"]
    assert shown.notes == ["netcore: closed by remote with code 1000 'bye'"]


async def test_json_keeps_the_recorded_times(record, options, captured, interrupts):
    name = record(HEAD, text(b"a"), encode_frame(Opcode.BINARY, b"\xff"), close(1001))
    shown = captured(json=True)

    await replay(options("replay", name, "--json"), shown.output, interrupts)

    first, second, end = shown.events
    assert (first["time_ns"], second["time_ns"]) == (6_000_000_000, 7_000_000_000)
    assert (first["text"], second["base64"]) == ("a", "/w==")
    assert (end["event"], end["code"]) == ("close", 1001)


@pytest.mark.parametrize(
    ("how", "seconds"), [(["--paced"], 4), (["--speed", 4], 1), ([], 0)]
)
async def test_pace(
    record, options, captured, interrupts, autojump_clock, how, seconds
):
    name = record(HEAD, text(b"a"), text(b"b"), text(b"c"), close(1000))
    before = trio.current_time()

    await replay(options("replay", name, *how), captured(json=False).output, interrupts)

    assert trio.current_time() - before == pytest.approx(seconds, abs=0.02)


async def test_a_recording_above_the_handshake_is_played(
    record, options, captured, interrupts
):
    name = record(text(b"a"), text(b"b"))
    shown = captured(json=False)

    await replay(options("replay", name, "--count", 1), shown.output, interrupts)
    assert shown.lines == ["a"]

    await replay(options("replay", name), shown.output, interrupts)
    assert shown.notes == [f"netcore: {name} ends without a close frame"]


async def test_a_complaint_of_the_recorded_peer_is_a_failure(
    record, options, captured, interrupts
):
    name = record(HEAD + close(4000, "go"))
    with pytest.raises(ConnectionClosed, match="4000"):
        await replay(options("replay", name), captured(json=False).output, interrupts)


async def test_a_refusal_that_was_recorded_is_a_failure(
    record, options, captured, interrupts
):
    name = record(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", b"")
    with pytest.raises(HandshakeError, match="403"):
        await replay(options("replay", name), captured(json=False).output, interrupts)


async def test_damage_is_a_failure_after_all_before_it(
    record, options, captured, interrupts
):
    name = record(HEAD + text(b"a"), text(b"b"))
    path = trio.Path(f"{name}_inbound.rec")
    await path.write_bytes((await path.read_bytes())[:-1])
    shown = captured(json=False)

    with pytest.raises(RecordingError, match="damaged"):
        await replay(options("replay", name), shown.output, interrupts)
    assert shown.lines == ["a"]


async def test_what_was_agreed_on_is_agreed_on_again(
    serve, options, captured, interrupts, tmp_path
):
    async def greet(ws):
        ws.send_many(["x" * 500, "y" * 500])

    server = await serve(
        greet, decide=lambda r: Accept(r.subprotocols[0]),
        options=WebSocketOptions(deflate=DeflateConfig()),
    )  # fmt: skip
    name = str(tmp_path / "real")
    with Recorder(name) as recorder:
        async with open_websocket(
            server.url, subprotocols=["v9"], deflate=DeflateConfig(), recorder=recorder
        ) as ws:
            assert len([payload async for payload in ws]) == 2
    shown = captured(json=False)

    assert look_at(name).subprotocol == "v9"
    await replay(options("replay", name), shown.output, interrupts)

    assert shown.lines == ["x" * 500, "y" * 500]


async def test_fix_recordings_print_a_line_a_message(
    record, options, captured, interrupts
):
    beat = encode([(8, "FIX.4.4"), (35, "0"), (34, 1), (49, "A"), (56, "B")])
    name = record(beat + beat[:9], beat[9:] + b"noise")
    shown = captured(json=False)

    await replay(options("replay", name), shown.output, interrupts)

    assert [line.split("  ")[1] for line in shown.lines[:2]] == ["Heartbeat (0)"] * 2
    assert "GARBLED 5 bytes" in shown.lines[2]

    once = captured(json=True)
    await replay(options("replay", name, "--count", 1), once.output, interrupts)
    assert [e["event"] for e in once.events] == ["message"]


async def test_other_bytes_are_printed_read_by_read(
    record, options, captured, interrupts
):
    name = record(b"\x00ab", b"c\x1b")
    shown, events = captured(json=False), captured(json=True)

    await replay(options("replay", name), shown.output, interrupts)
    await replay(options("replay", name), events.output, interrupts)

    assert shown.lines == ["\\x00ab", "c\\x1b"]
    assert [e["size"] for e in events.events] == [3, 2]


@pytest.mark.parametrize("wrong", [["--once"], ["--after", "1"], ["--verify-outbound"]])
async def test_what_only_a_server_can_is_refused(
    record, options, captured, interrupts, wrong
):
    name = record(HEAD)
    with pytest.raises(UsageFault, match="need --serve"):
        await replay(
            options("replay", name, *wrong), captured(json=False).output, interrupts
        )


async def test_what_cannot_be_served_or_is_no_recording(
    record, options, captured, interrupts, tmp_path
):
    output = captured(json=False).output
    with pytest.raises(UsageFault, match="cannot serve"):
        await replay(
            options("replay", record(b"8=FIX.4.4"), "--serve", "127.0.0.1:0"),
            output, interrupts,
        )  # fmt: skip
    plain = trio.Path(tmp_path) / "plain"
    await plain.write_bytes(b"x")
    with pytest.raises(UsageFault, match="no recording"):
        await replay(options("replay", plain), output, interrupts)


@pytest.mark.parametrize("wrong", ["8080", ":80", "host:", "host:70000", "host:x"])
def test_an_address_has_host_and_port(options, wrong):
    with pytest.raises(SystemExit):
        options("replay", "x", "--serve", wrong)


def test_an_address_may_be_one_of_ipv6(options):
    assert options("replay", "x", "--serve", "[::1]:80").serve == ("::1", 80)


# -- serving -------------------------------------------------------------------------


async def url_of(shown) -> str:
    while not shown.events:
        await trio.lowlevel.checkpoint()
    return shown.events[0]["url"]


async def served(name, options, captured, client, *how):
    """Serve a recording to `client`; return what it returned."""
    shown = captured(json=True)
    results = []
    opts = options("replay", name, "--serve", "127.0.0.1:0", "--json", *how)
    async with trio.open_nursery() as nursery:

        async def talk():
            results.append(await client(await url_of(shown)))

        nursery.start_soon(talk)
        try:
            await replay(opts, shown.output, Interrupts())
        except Exception as exc:
            results.append(exc)
    return results, shown


async def drain(ws):
    """Read until the end, whatever its code."""
    while True:
        await ws.read_batch()


async def listen(url):
    async with open_websocket(url) as ws:
        got = [payload async for payload in ws]
    return got, ws.close_code, ws.close_reason


async def test_a_client_gets_what_was_recorded(record, options, captured):
    name = record(HEAD + text(b"a") + b"\x01\x01b", b"\x80\x01c" + close(1001, "night"))

    results, shown = await served(name, options, captured, listen, "--once")

    assert results == [([b"a", b"bc"], 1001, "night")]
    assert shown.events[-1] == {"event": "summary", "clients": 1}


async def test_a_recording_without_a_close_ends_with_1000(record, options, captured):
    name = record(HEAD + text(b"a"))
    results, _ = await served(name, options, captured, listen, "--once")
    assert results == [([b"a"], 1000, "")]


async def test_the_recorded_subprotocol_is_agreed_on_where_offered(
    record, options, captured
):
    name = record(HEAD[:-2] + b"Sec-WebSocket-Protocol: v9\r\n\r\n" + text(b"a"))

    async def client(url):
        async with open_websocket(url, subprotocols=["v8", "v9"]) as ws:
            return ws.subprotocol

    results, _ = await served(name, options, captured, client, "--once")

    assert results == ["v9"]


async def test_a_signal_ends_serving_in_order(record, options, captured, interrupts):
    name = record(HEAD + text(b"a"), gap=3600)
    shown = captured(json=False)
    opts = options("replay", name, "--serve", "127.0.0.1:0", "--after", 1)
    codes = []

    async def client():
        while not shown.notes:
            await trio.lowlevel.checkpoint()
        async with open_websocket(shown.notes[0].split(" at ")[1]) as ws:
            interrupts.interrupt()
            assert [payload async for payload in ws] == []
            codes.append(ws.close_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        await replay(opts, shown.output, interrupts)
    assert codes == [1001]


async def test_the_play_waits_for_the_client_and_takes_several(
    record, options, captured
):
    name = record(HEAD + text(b"a"))

    async def client(url):
        got = []
        for _ in range(2):
            async with open_websocket(url) as ws:
                with trio.move_on_after(0):
                    got.append(await ws.receive_text())
                ws.send_text("subscribe")
                got.append(await ws.receive_text())
        return got

    async with trio.open_nursery() as nursery:
        shown = captured(json=True)
        opts = options("replay", name, "--serve", "127.0.0.1:0", "--after", 1, "--json")
        nursery.start_soon(replay, opts, shown.output, Interrupts())
        assert await client(await url_of(shown)) == ["a", "a"]
        nursery.cancel_scope.cancel()


def sent(*payloads: bytes) -> bytes:
    return REQUEST + b"".join(encode_frame(Opcode.TEXT, p, key=9) for p in payloads)


async def test_a_client_that_sends_the_same_passes(record, options, captured):
    name = record(HEAD + text(b"a"), sent=sent(b"one", b"two"))

    async def client(url):
        async with open_websocket(url) as ws:
            ws.send_text("one")
            got = await ws.receive_text()
            # All has been played by now; the server waits for what is missing.
            await trio.testing.wait_all_tasks_blocked()
            assert ws.websocket.read_batch() is None
            ws.send_text("two")
            with pytest.raises(ConnectionClosed):
                await ws.receive_text()
            return got, ws.close_code

    results, _ = await served(name, options, captured, client, "--verify-outbound")

    assert results == [("a", 1000)]


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (
            ["one", "TWO"],
            "2 differs: text b'TWO' was sent, text b'two' was recorded",
        ),
        ([b"one"], "message 1 differs: binary b'one' was sent"),
        (["one"], "left with 1 of its recorded messages unsent"),
        (["one", "two", "three"], "message 3 was not recorded"),
    ],
)
async def test_a_client_that_does_not_is_told(record, options, captured, says, words):
    name = record(HEAD + text(b"a"), text(b"b"), sent=sent(b"one", b"two"))

    async def client(url):
        async with open_websocket(url) as ws:
            for message in says:
                send = ws.send_text if isinstance(message, str) else ws.send_binary
                send(message)
            if words.startswith("left"):
                await ws.receive_text()
                return
            with pytest.raises(ConnectionClosed):
                await drain(ws)

    # Paced, so that the recording outlives what the client has to say.
    results, _ = await served(
        name, options, captured, client, "--verify-outbound", "--paced"
    )

    fault = next(r for r in results if isinstance(r, Exception))
    assert isinstance(fault, ClientDiverged)
    assert words in str(fault)


async def test_a_damaged_recording_fails_the_server(record, options, captured):
    name = record(HEAD + text(b"a"), text(b"b"))
    path = trio.Path(f"{name}_inbound.rec")
    await path.write_bytes((await path.read_bytes())[:-1])

    async def client(url):
        async with open_websocket(url) as ws:
            with pytest.raises(ConnectionClosed, match="1011"):
                await drain(ws)

    results, _ = await served(name, options, captured, client, "--once")

    assert any(isinstance(r, RecordingError) for r in results)


async def test_a_port_in_use_is_told_plainly(
    serve, record, options, captured, interrupts
):
    server = await serve()
    with pytest.raises(OSError, match="in use"):
        await replay(
            options("replay", record(HEAD), "--serve", f"127.0.0.1:{server.port}"),
            captured(json=False).output, interrupts,
        )  # fmt: skip


def test_messages_of_the_recorded_client_are_found(record):
    pieces = encode_frame(Opcode.TEXT, b"fi", key=3, fin=False)
    pieces += encode_frame(Opcode.PING, b"", key=3)
    pieces += encode_frame(Opcode.CONTINUATION, b"ne", key=3)
    name = record(HEAD, sent=sent(b"one") + pieces)

    assert [f.payload for f in recorded_messages(name)] == [b"one", b"fine"]

    name = record(HEAD, sent=encode_frame(Opcode.BINARY, b"bare", key=3))
    assert [(f.opcode, f.payload) for f in recorded_messages(name)] == [
        (Opcode.BINARY, b"bare")
    ]


def test_expected_messages_count_down():
    expected = Expected(iter([Frame(Opcode.TEXT, True, b"a")]))
    assert expected.missing == 1
    expected.check(Frame(Opcode.TEXT, True, b"a"))
    assert expected.missing == 0
