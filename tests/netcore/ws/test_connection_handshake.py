"""A conversation's beginning, and what is agreed there: upgrade and compression."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import ConnectionClosed, ConnectionLost, HandshakeError, NetError
from netcore.ws import (
    Batch,
    ClientHandshake,
    DeflateConfig,
    Opcode,
    Role,
    ServerHandshake,
    State,
    WsConnection,
    encode_frame,
)
from netcore.ws.deflate import offer


def pair(
    client: DeflateConfig | None = None, server: DeflateConfig | None = None, **options
) -> tuple[WsConnection, WsConnection]:
    ours = WsConnection(
        Role.CLIENT,
        handshake=ClientHandshake("h", extensions=offer(client) if client else ""),
        deflate=client,
        **options,
    )
    theirs = WsConnection(
        Role.SERVER, handshake=ServerHandshake(), deflate=server, **options
    )
    return ours, theirs


def shake(ours: WsConnection, theirs: WsConnection) -> None:
    theirs.feed(ours.outgoing())
    theirs.accept()
    ours.feed(theirs.outgoing())


def test_a_handshake_opens_both_ends():
    ours, theirs = pair()
    assert (ours.state, theirs.state) == (State.CONNECTING, State.CONNECTING)
    theirs.feed(ours.outgoing())
    assert theirs.request is not None
    assert theirs.state is State.CONNECTING
    theirs.accept(headers=[("X-Id", "1")])
    ours.feed(theirs.outgoing())

    assert (ours.state, theirs.state) == (State.OPEN, State.OPEN)
    assert ours.request is None
    assert ours.agreement is not None
    assert ("X-Id", "1") in ours.agreement.headers


def test_early_messages_wait_in_order_and_leave_with_the_upgrade():
    ours, theirs = pair()
    request = ours.outgoing()
    assert ours.send(Opcode.TEXT, b"1") == b""
    assert ours.send(Opcode.BINARY, memoryview(b"2")) == b""
    assert ours.early_bytes == 2
    theirs.feed(request)
    theirs.accept()
    ours.feed(theirs.outgoing())

    assert ours.early_bytes == 0
    batch = theirs.feed(ours.outgoing())
    assert batch is not None
    assert batch.payloads == [b"1", b"2"]


def test_frames_behind_the_answer_are_held_with_their_time():
    ours, theirs = pair()
    theirs.feed(ours.outgoing())
    theirs.accept()
    data = theirs.outgoing() + theirs.send(Opcode.TEXT, b"first")

    assert ours.feed(data, 5) is None
    assert ours.held
    batch = ours.feed(b"", 9)
    assert batch == Batch(5, [b"first"], Opcode.TEXT)
    assert not ours.held


def test_frames_before_the_servers_decision_are_held():
    ours, theirs = pair()
    wire = ours.outgoing()
    theirs.feed(wire[:10])
    theirs.feed(wire[10:] + encode_frame(1, b"a", key=1))
    theirs.feed(encode_frame(1, b"b", key=2))
    assert not theirs.held
    theirs.accept()

    assert theirs.held
    batch = theirs.feed(encode_frame(1, b"c", key=3))
    assert batch is not None
    assert batch.payloads == [b"a", b"b", b"c"]


def test_a_client_that_floods_before_the_decision_is_refused():
    ours, theirs = pair()
    theirs.feed(ours.outgoing())
    for _ in range(17):
        theirs.feed(bytes(1 << 20))

    assert theirs.state is State.CLOSED
    assert theirs.outgoing().startswith(b"HTTP/1.1 400")


def test_a_refused_client_learns_why():
    ours, theirs = pair()
    theirs.feed(ours.outgoing())
    theirs.reject(403, body=b"no")
    ours.feed(theirs.outgoing())

    assert (ours.state, theirs.state) == (State.CLOSED, State.CLOSED)
    error = ours.end()
    assert isinstance(error, HandshakeError)
    assert (error.status, error.body) == (403, b"no")
    assert isinstance(theirs.end(), HandshakeError)
    assert isinstance(ours.end(), ConnectionClosed)


def test_a_bad_request_is_answered_with_its_status():
    theirs = WsConnection(Role.SERVER, handshake=ServerHandshake())
    theirs.feed(b"POST / HTTP/1.1\r\n\r\n")

    assert theirs.state is State.CLOSED
    assert theirs.outgoing().startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("act", [WsConnection.accept, lambda c: c.reject(404)])
def test_only_a_server_with_a_request_can_answer_it_and_once(act):
    ours, theirs = pair()
    if act is WsConnection.accept:
        with pytest.raises(ValueError, match="request"):
            act(theirs)
    with pytest.raises(ValueError, match="request"):
        act(ours)
    shake(ours, theirs)
    with pytest.raises(ValueError, match="state is open"):
        act(theirs)


@pytest.mark.parametrize("end", ["eof", "lost"])
def test_an_end_before_the_upgrade_is_a_handshake_error_or_the_cause(end):
    for connection in pair():
        cause = ConnectionLost("reset")
        if end == "eof":
            connection.feed_eof()
        else:
            connection.lose(cause)
        error: NetError = connection.end()
        assert connection.state is State.CLOSED
        assert error is cause if end == "lost" else isinstance(error, HandshakeError)


def test_closing_before_the_upgrade_is_just_the_end():
    ours, _ = pair()
    ours.send(Opcode.TEXT, b"never")

    assert ours.close(1001) == b""
    assert ours.outgoing() == b""
    assert (ours.state, ours.close_code) == (State.CLOSED, 1001)


def test_pings_wait_for_the_upgrade():
    ours, _ = pair()
    with pytest.raises(ConnectionClosed, match="not complete"):
        ours.ping()


# -- compression -----------------------------------------------------------------------


@given(
    messages=st.lists(st.binary(max_size=400), max_size=5),
    pieces=st.integers(1, 3),
    frames=st.booleans(),
)
def test_compressed_conversations_are_the_same_conversations(messages, pieces, frames):
    config = DeflateConfig(threshold=20)
    ours, theirs = pair(config, config, frames=frames)
    shake(ours, theirs)
    assert ours.compressing
    assert theirs.compressing

    for sender, receiver in ((ours, theirs), (theirs, ours)):
        for message in messages:
            step = len(message) // pieces + 1
            parts = [message[i : i + step] for i in range(0, len(message), step)]
            parts = parts or [b""]
            got = b""
            for place, part in enumerate(parts):
                fin = place == len(parts) - 1
                batch = receiver.feed(sender.send(Opcode.BINARY, part, fin=fin))
                if batch is not None:
                    got += b"".join(batch.payloads)
            assert got == message


def test_compression_is_used_where_it_helps_and_marked():
    config = DeflateConfig(threshold=64)
    ours, theirs = pair(config, config)
    shake(ours, theirs)

    assert ours.send(Opcode.TEXT, b"a" * 63)[0] == 0x81
    long = ours.send(Opcode.TEXT, b"a" * 1000)
    assert long[0] == 0xC1
    assert len(long) < 50


@pytest.mark.parametrize(
    ("client", "server"), [(None, DeflateConfig()), (DeflateConfig(), None)]
)
def test_compression_takes_two(client, server):
    ours, theirs = pair(client, server)
    shake(ours, theirs)

    assert not ours.compressing
    assert not theirs.compressing
    assert ours.send(Opcode.TEXT, b"a" * 1000)[0] == 0x81


def test_early_messages_are_compressed_once_that_is_agreed():
    config = DeflateConfig()
    ours, theirs = pair(config, config)
    request = ours.outgoing()
    ours.send(Opcode.TEXT, b"z" * 5000)
    theirs.feed(request)
    theirs.accept()
    ours.feed(theirs.outgoing())
    wire = ours.outgoing()

    assert len(wire) < 100
    batch = theirs.feed(wire)
    assert batch is not None
    assert batch.payloads == [b"z" * 5000]


def test_a_bomb_ends_with_1009_and_garbage_with_1007():
    for payload, code in [
        (DeflateConfig, 1009),
        (b"\xff\xff\xff\xff", 1007),
    ]:
        config = DeflateConfig()
        ours, theirs = pair(config, config, max_message_size=1000)
        shake(ours, theirs)
        wire = (
            ours.send(Opcode.TEXT, bytes(1001))
            if payload is DeflateConfig
            else encode_frame(1, payload, rsv1=True, key=5)
        )
        theirs.feed(wire)
        assert theirs.close_code == code


def test_text_is_checked_after_expansion():
    config = DeflateConfig()
    ours, theirs = pair(config, config)
    shake(ours, theirs)
    theirs.feed(ours.send(Opcode.TEXT, b"\xff" * 100))

    assert theirs.close_code == 1007


def test_a_server_that_answers_another_offer_is_refused():
    ours, theirs = pair(DeflateConfig(receive_context=False), DeflateConfig())
    theirs.feed(ours.outgoing())
    theirs.accept()
    answer = theirs.outgoing().replace(b"; server_no_context_takeover", b"")
    ours.feed(answer)

    error = ours.end()
    assert isinstance(error, HandshakeError)
    assert "context takeover" in str(error)
