"""Keep several connections alive from one thread.

An endpoint says where to connect and what to do with a message. The service looks
names up, connects (one connection per interval, so that no venue calls it an attack),
watches all sockets with one system call, and begins again when a connection ends: a
daily disconnect, a crash of the venue, a bug in `on_message`. Nothing of that touches
the other endpoints.

    python service_with_endpoints.py wss://stream.binance.com:9443/ws
"""

from collections import Counter
from collections.abc import Sequence

import msgspec
from _offline import arguments, open_venue, run

from netcore.dns import RoundRobin, ThreadResolver
from netcore.select import EpollSelector
from netcore.service import DisconnectReason, IOService
from netcore.ws import Frame, WebSocket, WebSocketEndpoint

SYMBOLS = ("btcusdt", "ethusdt", "solusdt")


class Trade(msgspec.Struct, frozen=True, gc=False):
    symbol: str = msgspec.field(name="s")
    price: float = msgspec.field(name="p")


DECODER = msgspec.json.Decoder(Trade, strict=False)


class Trades(WebSocketEndpoint[None]):
    """The trades of one symbol: one connection."""

    def __init__(self, base: str, symbol: str, seen: Counter[str]) -> None:
        super().__init__(f"{base}/{symbol}@trade")
        self.seen = seen

    def on_open(self, websocket: WebSocket, context: None) -> None:
        """Say so; after each reconnect, too."""
        print(f"open: {self.url.target}")

    def on_message(self, websocket: WebSocket, message: Frame, context: None) -> None:
        """Count and print one trade."""
        trade = DECODER.decode(message.payload)
        self.seen[trade.symbol] += 1
        print(f"{trade.symbol} {trade.price}")

    def can_recreate(self, reason: DisconnectReason, context: None) -> bool:
        """Connect again; False would make the service raise EndpointLost."""
        print(f"ended: {self.url.target}: {reason}")
        return True


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv, ("--interval", float, 0.1))
    seen: Counter[str] = Counter()

    def enough() -> bool:
        return len(seen) == len(SYMBOLS) and min(seen.values()) >= options.messages

    with (
        open_venue(options.url) as base,
        ThreadResolver() as resolver,  # the default one would block the loop
        IOService[WebSocket, None](
            EpollSelector(),
            resolver=RoundRobin(resolver),
            connect_interval=options.interval,
            connect_timeout=10.0,
            dns_timeout=5.0,
        ) as service,
    ):
        for symbol in SYMBOLS:
            service.register(Trades(base, symbol, seen))
        # waiting=True blocks between the turns; without it the loop spins.
        service.run(enough, waiting=True)
    for symbol, count in sorted(seen.items()):
        print(f"{symbol}: {'enough' if count >= options.messages else count}")
    return 0


if __name__ == "__main__":
    run(main)
