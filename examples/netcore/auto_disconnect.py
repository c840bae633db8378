"""Replace each connection before the venue does, at a moment of your own choosing.

Binance ends every connection after 24 hours. A time to live ends it earlier; jittered,
so that connections which were made together do not end together; and not while the
endpoint says that now is a bad moment, here while an order is working.

    python auto_disconnect.py wss://stream.binance.com:9443/ws/btcusdt@trade --ttl 82800
"""

from collections.abc import Sequence

from _offline import arguments, open_venue, run

from netcore.dns import ThreadResolver
from netcore.select import EpollSelector
from netcore.service import AutoDisconnect, DisconnectReason, IOService, jittered
from netcore.ws import Batch, WebSocket, WebSocketEndpoint


class Desk:
    """The context: whether an order is working."""

    working = False


class Trades(WebSocketEndpoint[Desk]):
    connections = 0
    postponed = 0
    messages = 0
    planned = 0

    def on_open(self, websocket: WebSocket, context: Desk) -> None:
        """Count; from the second on, an order is working when the time is up."""
        self.connections += 1
        context.working = self.connections > 1
        print(f"connection {self.connections}")

    def on_batch(self, websocket: WebSocket, batch: Batch, context: Desk) -> None:
        """Count."""
        self.messages += len(batch)

    def can_auto_disconnect(self, context: Desk) -> bool:
        """Say whether now is a good moment; if not, a further time to live begins."""
        if not context.working:
            return True
        self.postponed += 1
        context.working = False  # as if it had been filled by the next time
        print("postponed: an order is working")
        return False

    def can_recreate(self, reason: DisconnectReason, context: Desk) -> bool:
        """Tell planned ends from failures; connect again after both."""
        match reason:
            case AutoDisconnect():
                self.planned += 1
                print("planned end")
            case failed:
                print(f"unplanned end: {failed}")
        return True


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv, ("--ttl", float, 0.2))
    with (
        open_venue(options.url, "/btcusdt@trade") as url,
        ThreadResolver() as resolver,
        IOService[WebSocket, Desk](
            EpollSelector(),
            resolver=resolver,
            context=Desk(),
            # Asked once per connection; 10 % to either side.
            auto_disconnect=jittered(options.ttl, spread=0.1),
            connect_interval=options.ttl / 10,
        ) as service,
    ):
        trades = Trades(url)
        handle = service.register(trades)
        service.run(
            lambda: trades.planned >= 3 and trades.messages >= options.messages,
            waiting=True,
        )
    print(f"{trades.planned} planned ends, {trades.postponed} postponed, one {handle=}")
    return 0


if __name__ == "__main__":
    run(main)
