import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import (
    DataError,
    Deserialise,
    DnsError,
    InvalidSequence,
    Sink,
    SocketError,
    Terminated,
    TlsError,
    WebSocket,
)
from integration.message import AdminKind
from integration.protocols.websocket import WebSocketParser
from integration.stream import BatchSource, ExchangeStream
from netcore import errors as net
from netcore.ws import Batch, Frame, Opcode


class Source:
    """Delivers what it is given; an exception is raised, an event waited for."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.closed = 0

    async def read_batch(self):
        await trio.lowlevel.checkpoint()
        if not self.steps:
            raise trio.EndOfChannel
        step = self.steps[0]
        if isinstance(step, trio.Event):
            await step.wait()
            self.steps.pop(0)
            return await self.read_batch()
        # Nothing is awaited after a batch is taken, as with a socket.
        self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self):
        self.closed += 1


class Repeat:
    """Makes as many outputs of a number as it says; negative ones are fatal."""

    def transform(self, message, time_received):
        if message == -1:
            raise InvalidSequence(1, 3)
        if message == -2:
            return self.partly(time_received)
        return [(message, i, time_received) for i in range(message)]

    def partly(self, time_received):
        yield "first"
        raise DataError("then no more")


def batch(*numbers, time=7):
    return Batch(time, [str(n).encode() for n in numbers])


def stream(*steps, **arguments):
    parser = WebSocketParser(msgspec.json.Decoder(int))
    return ExchangeStream(Source(*steps), parser, Repeat(), **arguments)


async def drain(subject):
    outputs = []
    try:
        while True:
            outputs.append(await subject.next_batch())
    except (trio.EndOfChannel, SocketError, DataError) as end:
        return outputs, end


async def test_one_read_gives_one_list_in_order():
    outputs, end = await drain(stream(batch(2, 0, 1, time=5), batch(1, time=6)))

    assert outputs == [[(2, 0, 5), (2, 1, 5), (1, 0, 5)], [(1, 0, 6)]]
    assert isinstance(end, trio.EndOfChannel)


async def test_reads_that_make_no_output_are_passed_over():
    outputs, _ = await drain(stream(batch(0), batch(0, 0), batch(1)))

    assert outputs == [[(1, 0, 7)]]


async def test_the_initial_buffer_comes_before_anything_is_read():
    source_waits = trio.Event()
    subject = stream(source_waits, batch(1), initial=["snapshot", "early"])

    assert await subject.next_batch() == ["snapshot", "early"]
    source_waits.set()
    assert await subject.next_batch() == [(1, 0, 7)]


async def test_iterating_and_batches_serve_the_same_buffer():
    subject = stream(batch(3), batch(1), initial=["a", "b"])

    assert await anext(subject) == "a"
    assert await subject.next_batch() == ["b"]
    assert await anext(subject) == (3, 0, 7)
    assert await subject.next_batch() == [(3, 1, 7), (3, 2, 7)]
    assert [item async for item in subject] == [(1, 0, 7)]


async def test_a_bad_message_is_an_output_in_its_place():
    subject = stream(Batch(7, [b"1", b"no", b"1"]))

    first, fault, last = await subject.next_batch()

    assert (first, last) == ((1, 0, 7), (1, 0, 7))
    assert isinstance(fault, Deserialise)
    assert subject.stats.faults == 1


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (net.ConnectionClosed(1001, "bye"), Terminated),
        (net.ConnectionClosed(1006), WebSocket),
        (net.ConnectionLost("reset"), WebSocket),
        (net.ProtocolError(1002, "bad mask"), WebSocket),
        (net.TlsError("broke"), TlsError),
        (net.ResolveError("no name"), DnsError),
        (OSError("reset"), WebSocket),
        (trio.BrokenResourceError(), WebSocket),
        (Sink("gone"), Sink),
    ],
    ids=lambda v: repr(v) if isinstance(v, Exception) else v.__name__,
)
async def test_a_lost_connection_is_raised_after_its_last_outputs(raised, kind):
    subject = stream(batch(1), raised)

    outputs, end = await drain(subject)

    assert outputs == [[(1, 0, 7)]]
    assert type(end) is kind
    assert end is raised or end.__cause__ is raised
    with pytest.raises(kind):
        await subject.next_batch()
    with pytest.raises(kind):
        await anext(subject)


async def test_a_close_frame_among_the_messages_ends_the_stream_there():
    heads = [(Opcode.TEXT, True), (Opcode.CLOSE, True), (Opcode.TEXT, True)]
    closing = Batch(7, [b"1", b"\x03\xf4", b"1"], heads=heads)

    outputs, end = await drain(stream(closing, batch(1)))

    assert outputs == [[(1, 0, 7)]]
    assert isinstance(end, Terminated)
    assert end.code == 1012


async def test_a_fatal_message_lets_the_outputs_before_it_out_first():
    outputs, end = await drain(stream(batch(1, -1, 1), batch(1)))

    assert outputs == [[(1, 0, 7)]]
    assert isinstance(end, InvalidSequence)


async def test_outputs_made_before_a_transformer_failed_midway_are_kept():
    outputs, end = await drain(stream(batch(1, -2)))

    assert outputs == [[(1, 0, 7), "first"]]
    assert str(end) == "then no more"


async def test_a_programming_error_is_not_an_output():
    class Buggy:
        def transform(self, message, time_received):
            return 1 / 0

    parser = WebSocketParser(msgspec.json.Decoder(int))
    subject = ExchangeStream(Source(batch(1)), parser, Buggy())

    with pytest.raises(ZeroDivisionError):
        await subject.next_batch()


async def test_administrative_traffic_is_seen_but_is_no_output():
    seen = []
    heads = [(Opcode.PING, True), (Opcode.TEXT, True), (Opcode.TEXT, True)]
    mixed = Batch(7, [b"1", b"pong", b"1"], heads=heads)
    subject = stream(mixed, on_admin=lambda admin, time: seen.append((admin, time)))

    assert await subject.next_batch() == [(1, 0, 7)]
    assert [(a.kind, time) for a, time in seen] == [
        (AdminKind.PING, 7),
        (AdminKind.HEARTBEAT, 7),
    ]
    assert subject.stats.admin == 2


async def test_what_went_through_is_counted():
    subject = stream(batch(2, 0), Batch(9, [b"no", b"1"]))
    await drain(subject)

    assert repr(subject.stats) == (
        "StreamStats(admin=0, batches=2, faults=1, last_received=9, "
        "messages=3, outputs=4)"
    )


async def test_closing_closes_the_source_and_keeps_what_waits():
    subject = stream(batch(2))
    await anext(subject)

    await subject.aclose()

    assert subject.source.closed == 1
    assert await subject.next_batch() == [(2, 1, 7)]


async def test_a_read_that_is_cancelled_loses_nothing():
    gate = trio.Event()
    subject = stream(batch(1), gate, batch(2))
    await subject.next_batch()

    with trio.move_on_after(0) as scope:
        await subject.next_batch()
    gate.set()

    assert scope.cancelled_caught
    assert await subject.next_batch() == [(2, 0, 7), (2, 1, 7)]


async def test_taking_what_waits_can_be_cancelled_without_loss():
    subject = stream(initial=["a", "b"])

    with trio.CancelScope() as scope:
        scope.cancel()
        await subject.next_batch()

    assert scope.cancelled_caught
    assert await subject.next_batch() == ["a", "b"]


STEPS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
        st.just("wait"),
    ),
    max_size=12,
)


@given(STEPS, st.lists(st.sampled_from(["cancel", "batch", "item"]), max_size=40))
async def test_under_any_schedule_of_cancellations_every_output_comes_once_in_order(
    steps, actions
):
    gates = [trio.Event() for step in steps if step == "wait"]
    pending = iter(gates)
    subject = stream(
        *(next(pending) if step == "wait" else batch(*step) for step in steps)
    )
    numbers = [n for step in steps if step != "wait" for n in step]
    expected = [(n, i, 7) for n in numbers for i in range(n)]
    outputs = []

    async def take(how):
        if how == "item":
            outputs.append(await anext(subject))
        else:
            outputs.extend(await subject.next_batch())

    try:
        for action in [*actions, *["batch"] * len(expected), "batch"]:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_stop, scope, action, gates)
                    await take(action)
                    nursery.cancel_scope.cancel()
    except* (trio.EndOfChannel, StopAsyncIteration):
        pass

    assert outputs == expected


async def _stop(scope, action, gates):
    """Cancel at once, or once the reader is stuck open the next gate."""
    if action == "cancel":
        scope.cancel()
        return
    while gates:
        await trio.testing.wait_all_tasks_blocked()
        gates.pop(0).set()


def test_netcores_socket_is_a_source():
    from netcore.trio import TrioWebSocket

    source: type[BatchSource[Frame]] = TrioWebSocket

    assert {"read_batch", "aclose"} <= set(dir(source))


async def test_a_batch_may_be_taken_as_a_whole_or_left():
    def whole(batch):
        if batch.opcode is Opcode.BINARY:
            return None
        return [("whole", len(batch), batch.timestamp_ns)]

    source = Source(
        Batch(1, [b"1", b"1"]), Batch(2, [b"1"], Opcode.BINARY), Batch(3, [b"2"])
    )
    parser = WebSocketParser(msgspec.json.Decoder(int))
    stream = ExchangeStream(source, parser, Repeat(), whole=whole)

    outputs = [output async for output in stream]

    assert outputs == [("whole", 2, 1), (1, 0, 2), ("whole", 1, 3)]
    assert (stream.stats.batches, stream.stats.outputs) == (3, 3)
    assert stream.stats.last_received == 3


async def test_a_batch_that_gives_nothing_as_a_whole_is_read_over():
    source = Source(Batch(1, [b"1"]), Batch(2, [b"2"]))
    parser = WebSocketParser(msgspec.json.Decoder(int))
    stream = ExchangeStream(
        source, parser, Repeat(), whole=lambda batch: batch.payloads[1:] or []
    )

    with pytest.raises(trio.EndOfChannel):
        await stream.next_batch()
