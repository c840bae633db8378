"""Send requests over one warm HTTP connection, polled or blocking.

For order entry: no DNS, TCP or TLS handshake between a decision and its request. The
pool keeps one connection and looks at it before each use; if the venue has closed it in
the very moment, a request that cannot act twice (GET, PUT, DELETE) goes out once more
over a new one, and a POST fails with `ServerDisconnected`: only you can ask the venue
what became of it.

    python http_single_connection.py https://api.binance.com
"""

import time
from collections.abc import Sequence
from http import HTTPStatus

import msgspec
from _offline import arguments, local_venue, run

from netcore.errors import NetError
from netcore.http import HttpClient, Response, SinglePool


class ServerTime(msgspec.Struct):
    serverTime: int  # noqa: N815 - Binance's name


class Depth(msgspec.Struct):
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


DEPTH = msgspec.json.Decoder(Depth, strict=False)


class RefusedError(Exception):
    """The venue answered, and not with 200."""


def poll_for_the_time(client: HttpClient) -> None:
    """Send, do other things, and look whether the answer is there."""
    with client.request("GET", "/api/v3/time") as request:
        while (response := request.poll()) is None:
            pass  # here a busy loop reads its feeds
    answer = msgspec.json.decode(content(response), type=ServerTime)
    print(f"HTTP {response.status}: the venue's clock shows {answer.serverTime}")


def ask_for_the_book(client: HttpClient) -> None:
    """Send and wait, for scripts."""
    target = "/api/v3/depth?symbol=BTCUSDT&limit=5"
    response = client.request("GET", target, timeout=5.0).block()
    book = DEPTH.decode(content(response))
    bid, ask = book.bids[0][0], book.asks[0][0]
    print(f"HTTP {response.status}: {bid} / {ask}, spread {ask - bid:.2f}")


def content(response: Response) -> bytes:
    """Return the body of an answer; statuses are answers, not errors of the client."""
    if response.status != HTTPStatus.OK:
        raise RefusedError(f"HTTP {response.status}: {response.text}")
    return response.body


def talk(base: str, rounds: int) -> int:
    pool = SinglePool(base)  # https is verified; FixedPool(base, 4) is for bursts
    client = HttpClient(pool, headers=[("User-Agent", "netcore")], timeout=10.0)
    try:
        for count in range(rounds):
            if count:
                time.sleep(0.1)  # venues count requests; Binance 6,000 a minute
            poll_for_the_time(client)
            ask_for_the_book(client)
    except (NetError, RefusedError) as exc:  # no route, no TLS, no HTTP, too late, ...
        print(f"{type(exc).__name__}: {exc}")
        return 1
    finally:
        client.close()
    print(f"{2 * rounds} requests")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    rounds = (options.messages + 1) // 2  # each asks twice
    if options.url is not None:
        return talk(options.url, rounds)
    with local_venue() as venue:
        return talk(venue.rest, rounds)


if __name__ == "__main__":
    run(main)
