"""netcore's clients, and what the bare socket takes for the same."""

import select
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from work import DECODER, Result, Tally, Work, summary


def decode_each(payloads: list[bytes]) -> None:
    """Decode and drop one after the other, as a listener does.

    Keeping a list of them costs 50 to 70 ns more each, in memory not yet cached.
    """
    decode = DECODER.decode
    for payload in payloads:
        trade = decode(payload)
    assert trade.a > 0


def in_trio(work: Work, **options: bool | float) -> Result:
    """Receive or ask with netcore under trio."""
    import trio

    from netcore.errors import ConnectionClosed
    from netcore.trio import open_websocket

    settings: dict[str, Any] = {
        "validate_utf8": False,
        "ssl_context": work.context(),
        **options,
    }

    async def receive() -> Result:
        async with open_websocket(work.url, **settings) as ws:
            tally = Tally()
            decode = work.decodes
            try:
                while True:
                    payloads = (await ws.read_batch()).payloads
                    tally.reads += 1
                    tally.count += len(payloads)
                    if decode:
                        decode_each(payloads)
                    else:
                        tally.size += sum(map(len, payloads))
            except ConnectionClosed:
                return tally.result()

    async def trips() -> Result:
        request, replies = bytes(work.size), work.replies
        times = []
        async with open_websocket(work.url, **settings) as ws:
            for _ in range(work.count):
                start = time.perf_counter()
                ws.send_binary(request)
                got = 0
                while got < replies:
                    got += len((await ws.read_batch()).payloads)
                times.append(time.perf_counter() - start)
            ws.abort()  # the server does not know close frames
        return summary(times)

    return trio.run(receive if work.receives else trips)


def busy(work: Work) -> Result:
    """Receive or ask with netcore, polling the socket without any loop."""
    from netcore.errors import ConnectionClosed
    from netcore.ws import State, WebSocket, WebSocketOptions

    ws = WebSocket.connect(
        work.url,
        options=WebSocketOptions(validate_utf8=False),
        ssl_context=work.context(),
    )
    while ws.state is State.CONNECTING:
        ws.read_batch()

    def receive() -> Result:
        poller = select.poll()
        poller.register(ws.stream.fileno(), select.POLLIN)
        read_batch, clock, decode = ws.read_batch, time.process_time, work.decodes
        tally = Tally()
        try:
            while True:
                batch = read_batch()
                if batch is None:
                    # This empty turn counts. Those that follow do not: the others
                    # sleep while there is nothing.
                    idle = clock()
                    while not ws.buffered and not poller.poll(0):
                        pass
                    tally.idle += clock() - idle
                    continue
                tally.reads += 1
                tally.count += len(batch.payloads)
                if decode:
                    decode_each(batch.payloads)
                else:
                    tally.size += sum(map(len, batch.payloads))
        except ConnectionClosed:
            return tally.result()

    def trips() -> Result:
        request, replies = bytes(work.size), work.replies
        times = []
        for _ in range(work.count):
            start = time.perf_counter()
            ws.send_binary(request)
            got = 0
            while got < replies:
                batch = ws.read_batch()
                if batch is not None:
                    got += len(batch.payloads)
            times.append(time.perf_counter() - start)
        return summary(times)

    with ws:
        return receive() if work.receives else trips()


def bare(work: Work) -> Result:
    """Move the same bytes on a socket without looking at them: the limit."""
    from netcore.ws import ClientHandshake, Opcode, encode_frame

    parts = urlsplit(work.url)
    handshake = ClientHandshake(parts.netloc, f"{parts.path}?{parts.query}")
    with socket.create_connection((parts.hostname, parts.port)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = work.context()
        sock: socket.socket = plain
        if context is not None:
            sock = context.wrap_socket(plain, server_hostname=parts.hostname)
        sock.sendall(handshake.request())
        agreement = None
        while agreement is None:
            agreement = handshake.feed(sock.recv(65536))
        if work.receives:
            return _receive(sock, len(agreement.rest), work.count)
        sock.setblocking(False)
        reply = len(encode_frame(Opcode.BINARY, bytes(work.size))) * work.replies
        request = encode_frame(Opcode.BINARY, bytes(work.size), key=1)
        return _trips(sock, request, reply, work.count)


def _receive(sock: socket.socket, had: int, count: int) -> Result:
    tally = Tally()
    size = had
    while data := sock.recv(65536):
        tally.reads += 1
        size += len(data)
    tally.count = count
    tally.size = size - 4 * count  # the frames' headers
    return tally.result()


def _trips(sock: socket.socket, request: bytes, reply: int, count: int) -> Result:
    receive, send, clock = sock.recv, sock.send, time.perf_counter
    nothing = (BlockingIOError, ssl.SSLWantReadError)
    times = []
    for _ in range(count):
        start = clock()
        send(request)
        missing = reply
        while missing:
            try:
                missing -= len(receive(65536))
            except nothing:
                continue
        times.append(clock() - start)
    return summary(times)
