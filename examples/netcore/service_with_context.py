"""Let endpoints share what they know, without globals and without locks.

A context is any object; the service hands it to every call of every endpoint. Here it
holds the last prices, from which each new one makes an index. Handles name endpoints
through all their connections: `dispatch` acts on one from outside its turn, here to
subscribe to one more stream as soon as the connection stands.

    python service_with_context.py wss://stream.binance.com:9443/ws
"""

from collections.abc import Sequence

import msgspec
from _offline import arguments, open_venue, run

from netcore.dns import ThreadResolver
from netcore.endpoint import Endpoint
from netcore.select import EpollSelector
from netcore.service import IOService
from netcore.ws import Frame, State, WebSocket, WebSocketEndpoint


class Message(msgspec.Struct, frozen=True, gc=False):
    """A trade, or the answer to a subscription, which has neither field."""

    symbol: str | None = msgspec.field(name="s", default=None)
    price: float | None = msgspec.field(name="p", default=None)


DECODER = msgspec.json.Decoder(Message, strict=False)
WEIGHTS = {"BTCUSDT": 0.01, "ETHUSDT": 0.2}


class Prices:
    """The context: what all endpoints together have seen."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.updates = 0

    def index(self) -> float | None:
        """Return the weighted sum, None until every price is known."""
        if len(self.last) < len(WEIGHTS):
            return None
        return sum(WEIGHTS[symbol] * price for symbol, price in self.last.items())


class Trades(WebSocketEndpoint[Prices]):
    def on_message(self, websocket: WebSocket, message: Frame, context: Prices) -> None:
        """Note the price, and print the index once all prices are known."""
        trade = DECODER.decode(message.payload)
        if trade.symbol is None or trade.price is None:
            print("subscribed")
            return
        context.last[trade.symbol] = trade.price
        context.updates += 1
        index = context.index()
        if index is not None:
            print(f"{trade.symbol} {trade.price:.2f} index {index:.4f}")


def subscribe(target: WebSocket, endpoint: Endpoint[WebSocket, Prices]) -> None:
    del endpoint
    target.send_text('{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":1}')


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(__doc__, argv)
    prices = Prices()
    with (
        open_venue(options.url) as base,
        ThreadResolver() as resolver,
        IOService[WebSocket, Prices](
            EpollSelector(), resolver=resolver, context=prices
        ) as service,
    ):
        handle = service.register(Trades(f"{base}/btcusdt@trade"))

        def is_open() -> bool:
            target = service.target(handle)  # None while there is no connection
            return target is not None and target.state is State.OPEN

        service.run(is_open, waiting=True)
        service.dispatch(handle, subscribe)
        service.run(
            lambda: prices.updates >= options.messages and prices.index() is not None,
            waiting=True,
        )
    print(f"index of {len(prices.last)} prices: {prices.index():.4f}")
    return 0


if __name__ == "__main__":
    run(main)
