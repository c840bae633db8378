"""Look names up without stopping the loop, and go round all addresses of a venue.

`getaddrinfo` blocks, sometimes for seconds. `ThreadResolver` calls it in one thread
and the service polls for the answer like for everything else. `RoundRobin` over it
begins each attempt at the address that was used longest ago, so a dead machine behind
a name costs one attempt, not the connection; a family that this machine cannot reach
at all (no IPv6 route) comes last for a minute.

    python async_dns.py wss://stream.binance.com:9443/ws/btcusdt@trade
"""

from collections.abc import Sequence

from _offline import arguments, open_venue, run

from netcore.dns import RoundRobin, ThreadResolver
from netcore.info import Address
from netcore.select import EpollSelector
from netcore.service import DisconnectReason, IOService
from netcore.ws import Batch, WebSocket, WebSocketEndpoint


class Trades(WebSocketEndpoint[None]):
    messages = 0

    def create(self, address: Address, context: None) -> WebSocket:
        """Begin a connection; `address` is another one at each attempt."""
        print(f"{self.info.host} is {address.host}")
        return super().create(address, context)

    def on_batch(self, websocket: WebSocket, batch: Batch, context: None) -> None:
        """Count."""
        self.messages += len(batch)

    def can_recreate(self, reason: DisconnectReason, context: None) -> bool:
        """Begin again, whatever it was: an address that is dead is not asked again."""
        print(f"ended: {reason}")
        return True


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    with (
        open_venue(options.url, "/btcusdt@trade") as url,
        ThreadResolver() as resolver,  # cpu=3 keeps the thread off the loop's processor
        IOService[WebSocket, None](
            EpollSelector(),
            resolver=RoundRobin(resolver, retry_family=60.0),
            dns_timeout=2.0,
            connect_interval=0.05,
        ) as service,
    ):
        # Offline the venue listens on 127.0.0.1; its name makes the look-up real.
        trades = Trades(url.replace("127.0.0.1", "localhost"))
        service.register(trades)
        turns = 0
        while trades.messages < options.messages:
            turns += 1  # goes on counting while a name is being looked up
            if not service.poll():
                service.wait(0.01)
    print(f"{min(trades.messages, options.messages)} trades, no turn waited for a name")
    return 0


if __name__ == "__main__":
    run(main)
