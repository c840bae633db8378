import base64
import hashlib
import random
import re
from contextlib import suppress

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import (
    Deserialise,
    DnsError,
    GaveUp,
    InvalidSequence,
    Terminated,
    TlsError,
    WebSocket,
)
from integration.protocols.websocket import WebSocketParser, connect
from integration.rest.limiter import BucketSpec, RateLimiter
from integration.stream import (
    Backoff,
    Connected,
    ConnectErrorAction,
    ConnectErrorKind,
    DefaultBackoff,
    ExchangeStream,
    Jitter,
    Reconnecting,
    ReconnectingSocket,
    ReconnectPolicy,
    StreamErrorAction,
)
from netcore import errors as net
from netcore.trio import open_websocket


class Socket:
    """A connection that lives through a script: batches, pauses, an end."""

    def __init__(self, *script, close=None):
        self.script = list(script)
        self.close = close
        self.closed = 0

    async def next_batch(self):
        await trio.lowlevel.checkpoint()
        if not self.script:
            raise Terminated(1006)
        step = self.script.pop(0)
        if isinstance(step, (int, float)):
            await trio.sleep(step)
            return await self.next_batch()
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self):
        self.closed += 1
        if self.close is not None:
            await self.close()
        await trio.lowlevel.checkpoint()


class Venue:
    """Gives out what it is told, one per attempt, and notes when it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.times = []

    async def __call__(self):
        self.times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await trio.sleep(answer)
            pytest.fail("the attempt was not ended in time")
        return answer

    @property
    def pauses(self):
        return [
            round(b - a, 6) for a, b in zip(self.times, self.times[1:], strict=False)
        ]


def steady(**arguments):
    return Backoff(1.0, jitter=Jitter.NONE, **arguments)


def socket(venue, backoff=None, **arguments):
    names = ("host", "limiter", "on_give_up")
    extra = {name: arguments.pop(name) for name in names if name in arguments}
    policy = ReconnectPolicy(backoff=backoff or steady(), **arguments)
    return ReconnectingSocket(venue, policy=policy, **extra)


def names(updates):
    return [
        type(u).__name__ if isinstance(u, (Connected, Reconnecting, Exception)) else u
        for u in updates
    ]


async def take(subject, count):
    updates = []
    while len(updates) < count:
        updates.extend(await subject.next_batch())
    return updates


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(0, 0), (1, 0.125), (2, 0.25), (3, 0.5), (9, 32), (10, 60), (11, 60), (9999, 60)],
)
def test_pauses_double_up_to_a_minute(attempt, seconds):
    assert Backoff(jitter=Jitter.NONE).delay(attempt) == seconds


@given(st.integers(0, 100), st.integers())
def test_full_jitter_stays_below_the_ceiling(attempt, seed):
    backoff = Backoff(rng=random.Random(seed))  # noqa: S311 - chance must repeat

    assert 0 <= backoff.delay(attempt) <= backoff.ceiling(attempt)


def test_a_seed_repeats_the_pauses():
    def draw():
        rng = random.Random(5)  # noqa: S311 - chance must repeat
        backoff = Backoff(rng=rng)
        return [backoff.delay(n) for n in range(1, 9)]

    assert draw() == draw()
    assert len(set(draw())) == 8


@pytest.mark.parametrize("multiplier", [1.0, 1e300])
def test_no_pause_overflows(multiplier):
    backoff = Backoff(multiplier=multiplier, jitter=Jitter.NONE)

    assert backoff.delay(10**9) in {0.125, 60.0}


@pytest.mark.parametrize(
    "arguments",
    [
        {"initial": -1},
        {"multiplier": 0.9},
        {"maximum": -1},
        {"stable_after": -1},
    ],
)
def test_an_impossible_backoff_is_refused(arguments):
    with pytest.raises(ValueError, match="a back-off needs"):
        Backoff(**arguments)


def test_the_default_backoff_is_barters():
    attempts = [0, 1, 2, 3, 4, 10, 15, 16, 100]

    delays = [round(DefaultBackoff().delay(n) * 1000) for n in attempts]

    assert delays == [0, 12, 14, 18, 26, 1034, 32778, 32778, 32778]


async def test_outputs_come_between_connected_and_reconnecting(autojump_clock):
    first, second = Socket([1, 2], [3]), Socket([4])
    subject = socket(Venue(first, second))

    updates = await take(subject, 7)

    assert names(updates) == [
        "Connected",
        1,
        2,
        3,
        "Reconnecting",
        "Connected",
        4,
    ]
    assert updates[0].socket is first
    assert updates[0].attempt == 0
    assert isinstance(updates[4].reason, Terminated)
    assert (updates[4].attempt, updates[4].delay) == (1, 1.0)
    assert (updates[5].socket, updates[5].attempt) == (second, 1)
    assert (first.closed, second.closed) == (1, 0)


async def test_single_updates_can_be_iterated(autojump_clock):
    subject = socket(Venue(Socket([1]), Socket()))

    seen = []
    async for update in subject:
        seen.append(update)
        if isinstance(update, Reconnecting):
            break

    assert names(seen) == ["Connected", 1, "Reconnecting"]


async def test_an_outage_is_announced_once_however_many_attempts_it_takes(
    autojump_clock,
):
    refused = WebSocket("refused")
    venue = Venue(Socket([1]), refused, OSError("reset"), refused, Socket([2]))
    subject = socket(venue, connect_timeout=60.0)

    updates = await take(subject, 5)

    assert names(updates) == ["Connected", 1, "Reconnecting", "Connected", 2]
    assert updates[3].attempt == 4
    assert venue.pauses == [1.0, 2.0, 4.0, 8.0]


async def test_the_first_connection_may_fail_too(autojump_clock):
    subject = socket(Venue(DnsError("no name"), Socket([1])))

    updates = await take(subject, 3)

    assert names(updates) == ["Reconnecting", "Connected", 1]
    assert isinstance(updates[0].reason, DnsError)


async def test_a_server_that_accepts_and_drops_is_not_hit_in_a_loop(autojump_clock):
    venue = Venue(*(Socket([n]) for n in range(6)))
    subject = socket(venue)

    await take(subject, 17)

    assert venue.pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


async def test_attempts_count_anew_after_data_has_flowed_long_enough(autojump_clock):
    flowing = Socket(["a"], 29.0, ["b"], 1.0, ["c"])
    venue = Venue(Socket(["x"]), Socket(["y"]), flowing, Socket(["z"]))
    subject = socket(venue)

    await take(subject, 12)

    assert venue.pauses == [1.0, 2.0, 30.0 + 1.0]


async def test_a_connection_that_is_open_but_silent_is_not_stable(autojump_clock):
    silent = Socket(["a"], 1000.0)
    venue = Venue(Socket(["x"]), silent, Socket(["z"]))
    subject = socket(venue)

    await take(subject, 8)

    assert venue.pauses == [1.0, 1000.0 + 2.0]


async def test_an_attempt_that_takes_too_long_is_ended(autojump_clock):
    seen = []

    def note(error):
        seen.append(error)
        return ConnectErrorAction.RECONNECT

    venue = Venue(1e6, Socket([1]))
    subject = socket(venue, connect_timeout=3.0, on_connect_error=note)

    updates = await take(subject, 3)

    assert names(updates) == ["Reconnecting", "Connected", 1]
    assert venue.pauses == [3.0 + 1.0]
    assert seen[0].kind is ConnectErrorKind.TIMEOUT
    assert seen[0].reconnection_attempt == 0


async def test_a_venue_that_says_how_long_is_given_that_time(autojump_clock):
    refusal = net.HandshakeError(429, [("Retry-After", "30")])
    venue = Venue(refusal, Socket([1]))

    updates = await take(socket(venue), 3)

    assert updates[0].delay == 30.0
    assert venue.pauses == [30.0]


async def test_after_so_many_attempts_it_gives_up_aloud(autojump_clock):
    told = []
    venue = Venue(Socket([1]), *[WebSocket("refused")] * 9)
    subject = socket(venue, max_attempts=3, on_give_up=told.append, host="x.example")

    updates = await take(subject, 3)
    with pytest.raises(
        GaveUp, match=r"x\.example: 3 attempts failed.*refused"
    ) as caught:
        await subject.next_batch()

    assert names(updates) == ["Connected", 1, "Reconnecting"]
    assert len(venue.times) == 4
    assert told == [caught.value]
    assert isinstance(caught.value.__cause__, WebSocket)
    with pytest.raises(GaveUp):
        await anext(subject)


async def test_after_so_long_it_gives_up_aloud(autojump_clock):
    venue = Venue(*[WebSocket("refused")] * 99)
    subject = socket(venue, deadline=20.0)

    assert names(await subject.next_batch()) == ["Reconnecting"]
    start = trio.current_time()
    with pytest.raises(GaveUp, match=r"within 20\.0 s"):
        await subject.next_batch()

    assert trio.current_time() - start == pytest.approx(1 + 2 + 4 + 8)


async def test_where_trying_again_is_pointless_it_ends_at_once(autojump_clock):
    venue = Venue(Socket([1]), TlsError("forged"))
    subject = socket(venue)
    await take(subject, 3)

    with pytest.raises(GaveUp, match=r"pointless.*forged"):
        await subject.next_batch()


async def test_error_values_pass_and_terminal_ones_reconnect(autojump_clock):
    bad, gap = Deserialise("bad", "x"), InvalidSequence(1, 3)
    first = Socket([1, bad, 2], [3, gap, "dropped"], ["never"])
    subject = socket(Venue(first, Socket([4])))

    updates = await take(subject, 9)

    assert updates[1:6] == [1, bad, 2, 3, gap]
    assert names(updates[6:]) == ["Reconnecting", "Connected", 4]
    assert updates[6].reason is gap
    assert first.closed == 1


async def test_the_policy_decides_about_error_values(autojump_clock):
    bad = Deserialise("bad", "x")
    subject = socket(
        Venue(Socket([1, bad, 2]), Socket([3])),
        on_stream_error=lambda error: StreamErrorAction.RECONNECT,
        drop_errors=True,
    )

    updates = await take(subject, 5)

    assert names(updates) == ["Connected", 1, "Reconnecting", "Connected", 3]


async def test_the_end_of_a_live_feed_is_an_outage(autojump_clock):
    subject = socket(Venue(Socket([1], trio.EndOfChannel()), Socket([2])))

    updates = await take(subject, 5)

    assert names(updates) == ["Connected", 1, "Reconnecting", "Connected", 2]
    assert isinstance(updates[2].reason, WebSocket)


async def test_connections_to_a_host_share_its_budget(autojump_clock):
    """Bitfinex: 20 connections a minute, however many feeds there are."""
    limiter = RateLimiter({("x", "connections"): BucketSpec(2, 120.0)})
    venues = [Venue(Socket([n])) for n in range(4)]
    start = trio.current_time()

    for venue in venues:
        await take(socket(venue, host="x", limiter=limiter), 2)

    times = [round(v.times[0] - start) for v in venues]
    assert times == [0, 0, 60, 120]


async def test_a_dead_connection_cannot_hold_up_the_next(autojump_clock):
    stuck = Socket([1], close=trio.sleep_forever)
    venue = Venue(stuck, Socket([2]))
    subject = socket(venue, close_timeout=4.0)

    await take(subject, 5)

    assert venue.pauses == [4.0]  # the pause of 1 s has passed meanwhile


async def test_an_error_while_closing_a_lost_connection_is_no_news(autojump_clock):
    async def fail():
        raise net.ConnectionLost("reset")

    subject = socket(Venue(Socket([1], close=fail), Socket([2])))

    assert names(await take(subject, 5))[-1] == 2


async def test_cancelling_any_wait_loses_nothing(autojump_clock):
    venue = Venue(Socket([1], 5.0, [2]), WebSocket("refused"), Socket([3], 99.0))
    subject = socket(venue)
    updates = []

    while len(updates) < 7:
        with trio.move_on_after(0.7):
            updates.extend(await subject.next_batch())

    assert names(updates)[:4] == ["Connected", 1, 2, "Reconnecting"]
    assert names(updates)[4:] == ["Connected", 3, "Reconnecting"][: len(updates) - 4]


async def test_closing_closes_what_is_up(autojump_clock):
    connection = Socket([1])
    subject = socket(Venue(connection))
    assert subject.socket is None
    await take(subject, 2)
    assert subject.socket is connection

    await subject.aclose()
    await subject.aclose()

    assert connection.closed == 1
    assert subject.socket is None


async def test_closing_closes_a_lost_connection_that_is_not_closed_yet(autojump_clock):
    connection = Socket([1])
    subject = socket(Venue(connection))
    await take(subject, 3)

    await subject.aclose()

    assert connection.closed == 1


async def test_attempts_and_what_waits_can_be_looked_at(autojump_clock):
    venue = Venue(WebSocket("refused"), WebSocket("refused"), Socket([1, 2]))
    subject = socket(venue)
    assert subject.attempts == 0

    assert names([await anext(subject)]) == ["Reconnecting"]
    assert subject.attempts == 1
    assert names([await anext(subject)]) == ["Connected"]
    assert subject.attempts == 2
    assert await anext(subject) == 1
    assert await subject.next_batch() == [2]


class ScriptedServer:
    """Accepts TCP connections on loopback and treats each by its script."""

    def __init__(self, *treatments):
        self.treatments = list(treatments)

    async def serve(self, stream):
        treat = self.treatments.pop(0)
        with suppress(trio.BrokenResourceError):  # the client has gone
            await treat(stream)
        await trio.aclose_forcefully(stream)


KEY_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


async def upgrade(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
    digest = hashlib.sha1(key + KEY_GUID).digest()  # noqa: S324 - the RFC's choice
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n\r\n"
    )


def text(payload):
    return bytes([0x81, len(payload)]) + payload


async def accept_and_drop(stream):
    return


async def refuse_upgrade(stream):
    await stream.receive_some()
    await stream.send_all(
        b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )


def close_with(code):
    async def treat(stream):
        await upgrade(stream)
        await stream.send_all(text(b"1") + b"\x88\x02" + code.to_bytes(2, "big"))
        await stream.receive_some()

    return treat


async def break_off(stream):
    await upgrade(stream)
    await stream.send_all(text(b"1") + b"\x81\x05ab")


async def break_the_rules(stream):
    await upgrade(stream)
    await stream.send_all(b"\xff\x00")
    await stream.receive_some()


async def half_open(stream):
    await upgrade(stream)
    await stream.send_all(text(b"1"))
    await stream.send_eof()
    await stream.receive_some()


async def talk(stream):
    await upgrade(stream)
    await stream.send_all(text(b"7"))
    await trio.sleep_forever()


class Same:
    def transform(self, message, time_received):
        return (message,)


@pytest.mark.parametrize(
    ("treatment", "kind", "words"),
    [
        (accept_and_drop, WebSocket, ""),
        (refuse_upgrade, WebSocket, "503"),
        (close_with(1000), Terminated, "1000"),
        (close_with(1001), Terminated, "1001"),
        (close_with(1008), Terminated, "1008"),
        (close_with(1012), Terminated, "1012"),
        (close_with(1013), Terminated, "1013"),
        (break_off, WebSocket, ""),
        (break_the_rules, WebSocket, ""),
        (half_open, WebSocket, ""),
    ],
    ids=[
        "accept-drop",
        "refuse",
        "1000",
        "1001",
        "1008",
        "1012",
        "1013",
        "1006",
        "protocol-error",
        "half-open",
    ],
)
async def test_whatever_a_server_does_the_feed_comes_back(
    nursery, treatment, kind, words
):
    server = ScriptedServer(treatment, talk)
    listeners = await nursery.start(trio.serve_tcp, server.serve, 0)
    port = listeners[0].socket.getsockname()[1]

    async def open_feed():
        opening = open_websocket(f"ws://127.0.0.1:{port}/", close_timeout=0.2)
        source = await connect(opening)
        return ExchangeStream(
            source, WebSocketParser(msgspec.json.Decoder(int)), Same()
        )

    policy = ReconnectPolicy(backoff=Backoff(0.0))
    subject = ReconnectingSocket(open_feed, policy=policy)

    updates = []
    async for update in subject:
        updates.append(update)
        if update == 7:
            break

    outages = [u for u in updates if isinstance(u, Reconnecting)]
    assert len(outages) == 1
    assert type(outages[0].reason) is kind
    assert words in str(outages[0].reason)
    await subject.aclose()
    nursery.cancel_scope.cancel()
