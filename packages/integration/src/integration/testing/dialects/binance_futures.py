"""Binance USD-M futures: what differs from spot.

Source: https://developers.binance.com/docs/derivatives/usds-margined-futures, pages
"Websocket Market Streams" and "Market Data" (read 2026-11). Pure; see
`integration.testing.dialect`.

Spoken besides what `binance_spot` speaks: `@markPrice` (every three seconds),
`@markPrice@1s`, `@forceOrder`; `/fapi/v1/…` for its routes, `/openInterest` among them.
Update ids have holes, and each update names the id before it (`pu`). Every symbol is a
perpetual. Recorded text is of spot and never sent as it is.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from integration.testing.book import Pair, PriceBook, format_units
from integration.testing.dialect import HttpReply, Limits, MarketView, SnapshotView
from integration.testing.dialects.binance_spot import (
    BinanceSpot,
    error_body,
    levels_text,
)
from integration.testing.dialects.windows import spell
from integration.testing.events import (
    CandleChanged,
    ContractTold,
    DepthChanged,
    DerivedEvent,
    DirectEvent,
    OtherMessage,
    PositionLiquidated,
    QuoteChanged,
    SymbolSpec,
    TradeDone,
)

__all__ = ["BinanceFutures"]

_STEP = 3
"""Ids told per id of the market: those in between belong to nobody."""


class BinanceFutures(BinanceSpot):
    """The exchange's side of the dialect.

    Args:
        view: The exchange that speaks.
    """

    name = "binance_futures_usd"
    limits = Limits(
        # "10 incoming messages per second"; 2,400 weight a minute; a ping every three
        # minutes, and ten for the pong.
        messages_per_second=10,
        weight_per_minute=2400,
        ping_interval_s=180.0,
        pong_timeout_s=600.0,
    )
    rest = "/fapi/v1"
    depth_weights = ((50, 2), (100, 5), (500, 10), (1000, 20))
    weights = {  # noqa: RUF012  a ClassVar in the base
        "/ping": 1,
        "/time": 1,
        "/exchangeInfo": 1,
        "/depth": 2,
        "/openInterest": 1,
    }

    def __init__(self, view: MarketView) -> None:
        super().__init__(view)
        self._told: dict[str, ContractTold] = {}

    def sequence(self, symbol: str) -> int | None:
        """Return the id of a client's book that has all published depth."""
        book = self.view.snapshot(symbol, SnapshotView.PUBLISHED)
        return None if book is None else book.sequence * _STEP

    def recorded(self, event: DirectEvent) -> str | None:
        """Pass on what nobody reads; all else was recorded at another venue."""
        return event.raw if isinstance(event, OtherMessage) else None

    # ---- spelling

    def spell_trade(self, event: TradeDone) -> str:
        """Spell a trade of the market; liquidations are told by `@forceOrder`."""
        millis = self.millis(event)
        return (
            f'{{"e":"trade","E":{millis},"T":{millis},"s":"{event.symbol}",'
            f'"t":{event.trade_id},"p":"{format_units(event.price)}",'
            f'"q":"{format_units(event.amount)}","X":"MARKET",'
            f'"m":{"true" if event.buyer_is_maker else "false"}}}'
        )

    def spell_quote(self, event: QuoteChanged) -> str:
        """Spell best bid and ask, which have times here."""
        millis = self.millis(event)
        text = super().spell_quote(event).replace('"u":', '"e":"bookTicker","u":', 1)
        return f'{text[:-1]},"T":{millis},"E":{millis}}}'

    def spell_depth(
        self,
        event: DepthChanged,
        first_id: int,
        last_id: int,
        bids: Iterable[Pair],
        asks: Iterable[Pair],
    ) -> str:
        """Spell changed levels, and the last id before them."""
        millis, before = self.millis(event), (first_id - 1) * _STEP
        return (
            f'{{"e":"depthUpdate","E":{millis},"T":{millis},"s":"{event.symbol}",'
            f'"U":{before + 1},"u":{last_id * _STEP},"pu":{before},'
            f'"b":[{levels_text(bids)}],"a":[{levels_text(asks)}]}}'
        )

    def book_text(self, book: PriceBook, depth: int) -> str:
        """Spell a book, with times."""
        millis = self.view.clock_ns() // 1_000_000
        return (
            f'{{"lastUpdateId":{book.sequence * _STEP},"E":{millis},"T":{millis},'
            f'"bids":[{levels_text(book.bids.top(depth))}],'
            f'"asks":[{levels_text(book.asks.top(depth))}]}}'
        )

    def derived(self, event: DerivedEvent) -> Iterable[tuple[str, str]]:
        """Spell candles, mark prices with funding and index, and liquidations."""
        stem = event.symbol.lower()
        match event:
            case CandleChanged():
                yield from super().derived(event)
            case ContractTold():
                self._told[event.symbol] = event
                text = self._mark(event)
                yield f"{stem}@markPrice@1s", text
                if event.time_ns // 10**9 % 3 == 0:
                    yield f"{stem}@markPrice", text
            case PositionLiquidated():
                yield f"{stem}@forceOrder", self._force_order(event)

    def _mark(self, event: ContractTold) -> str:
        return _json(
            {
                "e": "markPriceUpdate",
                "E": self.millis(event),
                "s": event.symbol,
                "p": format_units(event.mark),
                "i": format_units(event.index),
                "P": format_units(event.mark),
                "r": spell(event.rate, 8),
                "T": event.next_funding_ns // 1_000_000,
            }
        )

    def _force_order(self, event: PositionLiquidated) -> str:
        millis = self.millis(event)
        price, amount = format_units(event.price), format_units(event.amount)
        order = {
            "s": event.symbol,
            "S": "BUY" if event.buys else "SELL",
            "o": "LIMIT",
            "f": "IOC",
            "q": amount,
            "p": price,
            "ap": price,
            "X": "FILLED",
            "l": amount,
            "z": amount,
            "T": millis,
        }
        return _json({"e": "forceOrder", "E": millis, "o": order})

    # ---- requests

    def route(self, route: str, query: dict[str, str]) -> HttpReply:
        """Answer a route; open interest has no stream."""
        if route != "/openInterest":
            return super().route(route, query)
        symbol = query.get("symbol", "")
        if symbol not in self.view.specs:
            return HttpReply(status=400, body=error_body(-1121, "Invalid symbol."))
        told = self._told.get(symbol)
        millis = self.view.clock_ns() // 1_000_000
        held = format_units(told.open_interest if told else 0)
        body = _json({"symbol": symbol, "openInterest": held, "time": millis})
        return HttpReply(status=200, body=body.encode())

    def symbol_info(self, spec: SymbolSpec) -> dict[str, object]:
        """Describe a perpetual as `/exchangeInfo` does."""
        return {
            **super().symbol_info(spec),
            "pair": spec.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": 4_133_404_800_000,  # the venue's "never"
            "marginAsset": spec.quote,
        }


def _json(value: Any) -> str:  # noqa: ANN401  JSON
    return msgspec.json.encode(value).decode()
