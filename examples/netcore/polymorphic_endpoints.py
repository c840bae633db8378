r"""Different protocols in one service: a WebSocket with JSON and a FIX session.

Endpoints need nothing in common but the context they write to. Each makes its own kind
of connection, and the service keeps them all: the same names, throttle, time limits,
reconnects and handles.

    python polymorphic_endpoints.py wss://stream.binance.com:9443/ws/btcusdt@trade \
        --fix tls://fix-md.binance.com:9000

(That venue wants a signed Logon: see `logon_fields` of `FixSession`.)
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
from _offline import arguments, local_venue, run

from netcore.dns import ThreadResolver
from netcore.fix import (
    FieldValue,
    FixConnection,
    FixEndpoint,
    FixSession,
    Message,
    SessionConfig,
)
from netcore.select import EpollSelector
from netcore.service import IOService
from netcore.ws import Frame, WebSocket, WebSocketEndpoint


class Tape:
    """The context: one tape for all venues."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count: Counter[str] = Counter()

    def print(self, source: str, symbol: str, price: float) -> None:
        """Print a trade, whoever reported it."""
        self.count[source] += 1
        if self.count[source] <= self.limit:
            print(f"{source} {symbol} {price:.2f}")


class Trade(msgspec.Struct, frozen=True, gc=False):
    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")


DECODER = msgspec.json.Decoder(Trade, strict=False)


class JsonTrades(WebSocketEndpoint[Tape]):
    def on_message(self, websocket: WebSocket, message: Frame, context: Tape) -> None:
        """Take one trade."""
        trade = DECODER.decode(message.payload)
        context.print("json", trade.symbol, trade.price)


class FixTrades(FixEndpoint[Tape]):
    def on_open(self, connection: FixConnection, context: Tape) -> None:
        """Send a MarketDataRequest (FIX 4.4 Vol. 3): trades, snapshot and updates."""
        request: list[tuple[int, FieldValue]] = [(262, "1"), (263, "1"), (264, 1)]
        request += [(265, 1), (267, 1), (269, "2"), (146, 1), (55, "BTCUSDT")]
        connection.send("V", request)

    def on_message(
        self, connection: FixConnection, message: Message, context: Tape
    ) -> None:
        """Take an incremental refresh (X)."""
        if message.type == "X":
            context.print("fix", message[55].decode(), float(message[270]))


def make_session() -> FixSession:
    config = SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id="EXAMPLE",
        target_comp_id="VENUE",
        reset_on_logon=True,
    )
    return FixSession(config)  # with FileStore(path), the numbers outlive the process


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv, ("--fix", str, None))
    tape = Tape(options.messages)
    with ExitStack() as stack:
        websocket, fix = options.url, options.fix
        if websocket is None or fix is None:
            venue = stack.enter_context(local_venue())
            websocket = websocket or f"{venue.websocket}/btcusdt@trade"
            fix = fix or venue.fix
        resolver = stack.enter_context(ThreadResolver())
        service = stack.enter_context(
            IOService[Any, Tape](
                EpollSelector(), resolver=resolver, context=tape, connect_interval=0.1
            )
        )
        service.register(JsonTrades(websocket))
        service.register(FixTrades(fix, make_session()))
        service.run(
            lambda: min(tape.count["json"], tape.count["fix"]) >= options.messages,
            waiting=True,
        )
    print(f"one tape of {len(tape.count)} protocols")
    return 0


if __name__ == "__main__":
    run(main)
