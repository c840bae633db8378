"""A WebSocket over real sockets, waited for by a script."""

import contextlib
import socket
import ssl

import trustme

from netcore.clock import ManualClock
from netcore.errors import ConnectionClosed
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream
from netcore.testing import tcp_stream_pair
from netcore.ws import Heartbeat, Opcode, State, WebSocket, WebSocketOptions
from netcore.ws import encode_frame as frame

TEXT = Opcode.TEXT
GUARD_SECONDS = 60  # against hanging; nothing asserts a duration


def over_sockets(client: TcpStream, server: TcpStream, wrap_client, wrap_server):
    ours, theirs = WebSocket(wrap_client(client)), WebSocket.serve(wrap_server(server))
    ends = [ours, theirs]
    while ours.state is State.CONNECTING:
        for end in ends:
            end.read_batch()
        if theirs.state is State.CONNECTING and theirs.request is not None:
            theirs.accept()
    return ours, theirs


def talk(ours: WebSocket, theirs: WebSocket) -> None:
    with ours, theirs:
        assert not ours.wait(0)
        theirs.send_binary(bytes(200_000))
        while (batch := ours.read_batch()) is None:
            theirs.flush()
            assert ours.wait(GUARD_SECONDS)
        assert batch.payloads == [bytes(200_000)]
        ours.close()
        read_to_the_end(theirs)
        read_to_the_end(ours)
        assert (theirs.close_code, ours.close_code) == (1000, 1000)


def read_to_the_end(ws: WebSocket) -> None:
    while not ws.closed:
        assert ws.wait(GUARD_SECONDS)
        with contextlib.suppress(ConnectionClosed):
            ws.read_batch()


def test_a_script_can_wait_on_plain_sockets():
    ours, theirs = over_sockets(*tcp_stream_pair(), lambda s: s, lambda s: s)
    talk(ours, theirs)


def test_a_script_can_wait_on_tls():
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    ours, theirs = over_sockets(
        *tcp_stream_pair(),
        lambda s: TlsStream(s, client_context),
        lambda s: TlsStream(s, server_context, server_side=True),
    )
    talk(ours, theirs)


def test_waiting_ends_with_the_timeout_or_a_deadline():
    a, b = tcp_stream_pair()
    patient = WebSocketOptions(heartbeat=Heartbeat(interval=60))
    with WebSocket.open(a, options=patient) as ws:
        assert ws.read_batch() is None
        assert not ws.wait(0)
        b.send(frame(TEXT, b"x"))
        assert ws.wait(GUARD_SECONDS)
    clock = ManualClock()
    options = WebSocketOptions(heartbeat=Heartbeat(interval=1))
    c, d = tcp_stream_pair()
    with WebSocket.open(c, options=options, clock=clock) as ws:
        clock.advance(2)
        assert ws.wait(GUARD_SECONDS)
    b.close()
    d.close()


def test_connecting_by_url_reaches_a_listening_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ours = WebSocket.connect(f"ws://127.0.0.1:{port}/a?b=c", headers=[("X", "y")])
        accepted, _ = listener.accept()
        theirs = WebSocket.serve(TcpStream.adopt(accepted))
    with ours, theirs:
        while theirs.request is None:
            ours.read_batch()
            theirs.read_batch()
        assert theirs.request.target == "/a?b=c"
        assert theirs.request.header("host") == f"127.0.0.1:{port}"
        theirs.accept()
        while ours.state is State.CONNECTING:
            ours.read_batch()
