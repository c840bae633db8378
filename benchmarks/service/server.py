"""The server under measurement, in a process of its own.

Three applications on three ports of one process and one event loop, so that all are
measured under the same conditions: the service, a bare Litestar application, and a bare
ASGI application. Commands come through a pipe.
"""

import logging
import socket
import time
from functools import partial
from multiprocessing.connection import Connection

import trio
from litestar import Litestar, Response, get

from flowtrade.auth import JwtAuthorizer
from flowtrade.models.batch import BatchStatus, ProductResult
from flowtrade.models.update import BatchUpdate, ReferenceUpdate
from flowtrade.serve import Auction, run_auction, serve
from flowtrade.settings import ScheduleSettings, ServerSettings, Settings, StoreSettings

SECRET = "a secret of thirty-two characters!"  # noqa: S105  # of the benchmark alone
BODY = b'{"price":11.25,"rate":4.5,"name":"' + b"x" * 260 + b'"}'
"""As long as the record of a demand with five points."""


@get("/thing/{key:str}")
async def thing(key: str) -> Response[bytes]:
    return Response(BODY, media_type="application/json")


async def bare_asgi(scope, receive, send) -> None:  # noqa: ANN001  # ASGI's three
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def run(url: str, pipe: Connection) -> None:
    logging.disable(logging.WARNING)
    trio.run(main, url, pipe)


async def main(url: str, pipe: Connection) -> None:
    settings = Settings(
        server=ServerSettings(port=0, keep_alive=60.0),
        store=StoreSettings(url=url),
        schedule=ScheduleSettings(every=None),
    )
    litestar = Litestar([thing], openapi_config=None, logging_config=None)
    async with trio.open_nursery() as nursery:
        auction: Auction = await nursery.start(
            partial(run_auction, settings, authorizer=JwtAuthorizer.from_secret(SECRET))
        )
        bare = [
            await nursery.start(partial(serve, app)) for app in (litestar, bare_asgi)
        ]
        pipe.send([auction.url, *bare])
        while True:
            command, *arguments = await trio.to_thread.run_sync(pipe.recv)
            if command == "cpu":
                pipe.send(time.process_time())
            elif command == "loop":
                pipe.send(time.thread_time())  # this task runs in its thread
            elif command == "publish":
                pipe.send(await publish(auction, *arguments))
            elif command == "listen":
                listening = listen_plainly(*arguments)
                pipe.send(listening.getsockname()[1])
            elif command == "accept":
                plain = accept(listening, *arguments)
                pipe.send(len(plain))
            elif command == "send":
                clients, *what = arguments
                pipe.send(await send(plain[:clients], *what))
            else:
                nursery.cancel_scope.cancel()
                return


def listen_plainly(count: int) -> socket.socket:
    """Return a socket with the options of the server's."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=count)
    # Else what has not been acknowledged keeps the rest back.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def accept(listening: socket.socket, count: int) -> list[socket.socket]:
    """Accept so many connections, which are there already."""
    plain = [listening.accept()[0] for _ in range(count)]
    for sock in plain:
        sock.setblocking(False)
    return plain


async def send(
    plain: list[socket.socket], size: int, events: int, pause: float
) -> float:
    """Send as often as `publish`, and nothing else; return the CPU seconds of it."""
    sends = [sock.send for sock in plain]
    data = b"x" * size
    began = time.process_time()
    for _ in range(events):
        for one in sends:
            one(data)
        await trio.sleep(pause)
    return time.process_time() - began


TIME = "2026-01-01T00:00:00Z"
UPDATES = {
    "reference": ReferenceUpdate(
        time=TIME, mids={f"{n:032d}": float(n) for n in range(5)}
    ),
    "batch": BatchUpdate(
        as_of=TIME,
        seq=1,
        status=BatchStatus.CLEARED,
        gains=1.0,
        products={
            f"{n:036d}": ProductResult(
                price=n + 0.123456, rate=n / 7, reference=n + 0.1, name=f"product {n}"
            )
            for n in range(50)
        },
        report=None,
        certificate=None,
    ),
}
"""All that a batch tells one client of the market is one event, and so it is for the
clients of a product and of a bidder, on streams of their own."""


async def publish(
    auction: Auction, name: str, events: int, pause: float
) -> tuple[float, int]:
    """Publish and return the CPU seconds of it, and the number of clients."""
    began = time.process_time()
    for _ in range(events):
        auction.hub.publish(("market", ""), UPDATES[name])
        await trio.sleep(pause)
    return time.process_time() - began, auction.hub.clients
