from decimal import Decimal

import msgspec
import pytest
import trio

from integration.errors import DeserialiseBinary, Fix, SequenceGap
from integration.message import AdminKind, ApplicationAdmin
from integration.protocols.fix import FixParser, FixSource
from integration.stream import ExchangeStream
from netcore.clock import ManualClock
from netcore.fix import (
    Acceptor,
    FixSession,
    GapDetected,
    Garbled,
    GarbledReason,
    HeartbeatTimeout,
    LoggedOut,
    Refused,
    Rejected,
    Role,
    SequenceReset,
    SessionConfig,
    SessionError,
    dictionary,
    encode,
)
from netcore.fix import FixParser as FixFramer
from netcore.fix.testing import Echo
from netcore.fix.trio import open_fix, serve_fix


class Order(msgspec.Struct):
    id: str
    price: Decimal


def decode(message):
    return Order(message[11].decode(), Decimal(message[44].decode()))


def order(*fields):
    data = encode([(8, "FIX.4.4"), (35, "D"), (34, 2), (49, "A"), (56, "B"), *fields])
    (message,) = FixFramer().feed(data)
    return message


@pytest.fixture
def parser():
    return FixParser(decode)


def test_application_messages_are_decoded(parser):
    assert parser.parse(order((11, "a"), (44, "1.50"))) == Order("a", Decimal("1.50"))


@pytest.mark.parametrize("fields", [[(11, "a")], [(11, "a"), (44, b"\xff")]])
def test_a_message_that_cannot_be_read_is_a_value_with_its_bytes(parser, fields):
    message = order(*fields)

    fault = parser.parse(message)

    assert isinstance(fault, DeserialiseBinary)
    assert fault.payload == message.raw
    assert not fault.terminal


def test_the_session_itself_is_administrative(parser):
    assert parser.parse(LoggedOut("bye")) == ApplicationAdmin(AdminKind.LOGOUT, b"bye")
    assert parser.parse(GapDetected(5, 9)) == ApplicationAdmin(AdminKind.RESEND, b"5-8")


def test_lost_messages_are_a_gap(parser):
    gap = parser.parse(SequenceReset(5, 9))

    assert isinstance(gap, SequenceGap)
    assert (gap.expected, gap.actual) == (5, 9)


def test_refusals_are_faults_of_one_message(parser):
    ours = parser.parse(Rejected(order(), 7, 44, 5, "bad price"))
    theirs = parser.parse(Refused(order(), "no such tag"))

    assert isinstance(ours, Fix)
    assert "our message 7 was rejected: tag 44, reason 5: bad price" in str(ours)
    assert "no such tag" in str(theirs)
    assert not ours.terminal


def test_garbled_bytes_are_reported(parser):
    garbled = Garbled(reason=GarbledReason.TRAILER, size=12, after=3)

    fault = parser.parse(garbled)

    assert isinstance(fault, DeserialiseBinary)
    assert "12 bytes" in str(fault)


def test_a_failed_session_ends_the_stream(parser):
    cause = HeartbeatTimeout("silence")

    fault = parser.parse(SessionError(cause))

    assert isinstance(fault, Fix)
    assert fault.terminal
    assert fault.recoverable
    assert fault.__cause__ is cause


class Echoed:
    def transform(self, message, time_received):
        return ((message.id, message.price, time_received),)


def config(role):
    names = ("US", "THEM") if role is Role.INITIATOR else ("THEM", "US")
    return SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id=names[0],
        target_comp_id=names[1],
        role=role,
    )


async def test_a_session_feeds_an_exchange_stream(nursery):
    async def handle(connection):
        application = Echo(connection, dictionary("FIX.4.4"))
        async for event in connection:
            application.handle(event)

    acceptor = Acceptor([FixSession(config(Role.ACCEPTOR))])
    server = await nursery.start(serve_fix, handle, acceptor, 0)
    session = FixSession(config(Role.INITIATOR))

    async with open_fix(f"tcp://127.0.0.1:{server.port}", session) as connection:

        def send_orders(admin, time):
            assert (admin.kind, time) == (AdminKind.LOGON, 7)
            for n in range(3):
                fields = [(11, f"o{n}"), (55, "X"), (54, "1"), (44, f"{n}.50")]
                fields += [(60, "20240808-12:00:00"), (40, "2"), (38, "1")]
                connection.send("D", fields)

        source = FixSource(connection, clock=ManualClock(now_ns=7))
        stream = ExchangeStream(
            source, FixParser(decode), Echoed(), on_admin=send_orders
        )
        outputs = [await anext(stream) for _ in range(3)]
        await stream.aclose()

        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    assert outputs == [(f"o{n}", Decimal(f"{n}.50"), 7) for n in range(3)]


async def test_a_session_that_has_ended_ends_the_stream():
    class Ended:
        async def receive(self):
            await trio.lowlevel.checkpoint()
            return []

        async def aclose(self):
            await trio.lowlevel.checkpoint()

    with pytest.raises(trio.EndOfChannel):
        await FixSource(Ended()).read_batch()
