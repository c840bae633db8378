"""Let an endpoint keep its own time: give a silent feed up and connect anew.

A connection can stand and bring nothing, as when a venue forgets a subscription. The
WebSocket's heartbeat does not see that, since pings are answered; only the endpoint
knows what silence means. `deadline` says when it wants its turn though nothing came,
and costs nothing until then. To end its own connection it raises. (`every_turn = True`
is the simpler way, and costs a failed read in every turn.)

    python timer_endpoint.py wss://stream.binance.com:9443/ws --patience 5
"""

from collections.abc import Sequence

from _offline import arguments, open_venue, run

from netcore.clock import to_ns
from netcore.dns import ThreadResolver
from netcore.select import EpollSelector
from netcore.service import DisconnectReason, IOService
from netcore.ws import Batch, WebSocket, WebSocketEndpoint

SUBSCRIBE = '{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}'


class SilenceError(Exception):
    """Nothing came for too long."""


class Watchful(WebSocketEndpoint[None]):
    """Trades that may not be silent for longer than `patience` seconds."""

    def __init__(self, url: str, *, patience: float) -> None:
        super().__init__(url)
        self.patience = patience
        self.silent_at: int | None = None  # not before the connection is open
        self.connections = self.messages = self.silences = 0

    def on_open(self, websocket: WebSocket, context: None) -> None:
        """Subscribe; not on the first connection, as if the venue had forgotten it."""
        self.connections += 1
        print(f"connection {self.connections}")
        if self.connections > 1:
            websocket.send_text(SUBSCRIBE)
        self.start_timer()

    def on_batch(self, websocket: WebSocket, batch: Batch, context: None) -> None:
        """Count, and wait anew."""
        self.messages += len(batch)
        self.start_timer()

    def start_timer(self) -> None:
        """Be silent from now on for `patience` seconds at most."""
        # The service's clock: in tests a ManualClock, or trio's.
        self.silent_at = self.monotonic_ns() + to_ns(self.patience)

    def deadline(self, target: WebSocket) -> int | None:
        """Return when to act: our moment or the WebSocket's own, what comes first."""
        moments = [self.silent_at, super().deadline(target)]
        return min((m for m in moments if m is not None), default=None)

    def poll(self, target: WebSocket, context: None) -> int:
        """Read, which keeps the WebSocket's time as well, and look at ours."""
        done = super().poll(target, context)
        if self.silent_at is not None and self.monotonic_ns() >= self.silent_at:
            self.silent_at = None
            raise SilenceError(f"no trade for {self.patience:g} s")
        return done

    def can_recreate(self, reason: DisconnectReason, context: None) -> bool:
        """Connect again, whoever ended it."""
        self.silences += 1
        print(f"ended: {reason}")
        return True


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv, ("--patience", float, 0.3))
    with (
        open_venue(options.url) as url,
        ThreadResolver() as resolver,
        IOService[WebSocket, None](
            EpollSelector(), resolver=resolver, connect_interval=0.1
        ) as service,
    ):
        feed = Watchful(url, patience=options.patience)
        service.register(feed)
        service.run(lambda: feed.messages >= options.messages, waiting=True)
    print(f"{feed.silences} silences, {feed.connections} connections")
    return 0


if __name__ == "__main__":
    run(main)
