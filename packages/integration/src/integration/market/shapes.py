"""Trades whose spelling is known to the byte: read without a decoder.

A venue writes every trade in the same way: the same keys in the same order, without
blanks. What changes are a handful of values. A *shape* is such a message with holes:

    {"e":"trade","E":<int>,"s":"<symbol>","t":<id>,"p":"<price>", ... }

A message that fits is read in one walk over its bytes, by compiled code
(`integration.market._speedups`), straight into its event; that takes a quarter of
decoding it first. Whatever does not fit (another order, a field that is new, an escape,
a number that is none, a symbol nobody follows) is not touched, and the connector's
decoder and transformer have it as ever. So a shape never refuses and never decides: it
is a short cut that gives the same event or none, and a venue that changes its spelling
costs speed, not trades.

Where nothing was compiled there is no short cut: in plain Python the decoder is faster.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias, final

from integration.market._speedups import Shape, scan
from integration.market.speedups import COMPILED
from integration.models import AmountUnit, ExchangeId, MarketDataInstrument

__all__ = ["HOLES", "Routes", "Scanner", "make_shapes", "spellings"]

Routes: TypeAlias = dict[str, MarketDataInstrument]
"""Whose messages are expected: symbol to instrument, live."""

HOLES: Final = {
    "symbol": "text between quotation marks: the key of the mapping",
    "id": "the trade's id, text or an integer",
    "price": "a number between quotation marks",
    "amount": "a number between quotation marks",
    "time": "when it happened, in ms, an integer, also between quotation marks",
    "maker": "true if the buyer rested, false if the seller did",
    "side": "the taker's, buy or sell",
    "first": "of an aggregated trade, the first match's id",
    "last": "of an aggregated trade, the last match's id",
    "count": "of an aggregated trade, how many matches, between quotation marks",
    "text": "any text, not looked at",
    "int": "any integer, not looked at",
    "bool": "true or false, not looked at",
}
"""What may stand in a shape, between `<` and `>`."""

_HOLE = re.compile(r'("?)<([a-z]+)>("?)')
_OPTION = re.compile(r"<\?(.*?)\?>")
_NEEDED: Final = ("symbol", "id", "price", "amount", "time")


def spellings(text: str) -> Iterator[str]:
    """Yield a shape with and without each part between `<?` and `?>`."""
    option = _OPTION.search(text)
    if option is None:
        yield text
        return
    for part in (option[1], ""):
        yield from spellings(text[: option.start()] + part + text[option.end() :])


def make_shapes(
    texts: Iterable[tuple[str, Routes]],
    *,
    exchange: ExchangeId,
    units: tuple[AmountUnit, AmountUnit],
    unsaid: int | None = None,
) -> list[Shape]:
    """Make what `Scanner` reads by.

    Args:
        texts: messages with holes (`HOLES`) and options (`<?` to `?>`), and whose
            trades they are: the live mapping of symbols to instruments.
        exchange: put into events.
        units: of amounts on spot markets and on others.
        unsaid: how many matches a trade holds that does not say.

    Raises:
        ValueError: a hole is unknown, there twice, or needed and not there.
    """
    return [
        _shape(spelling, routes, exchange=exchange, units=units, unsaid=unsaid)
        for text, routes in texts
        for spelling in spellings(text)
    ]


def _shape(
    text: str,
    routes: Routes,
    *,
    exchange: ExchangeId,
    units: tuple[AmountUnit, AmountUnit],
    unsaid: int | None = None,
) -> Shape:
    literals: list[bytes] = []
    holes: list[str] = []
    quoted: list[bool] = []
    at = 0
    for hole in _HOLE.finditer(text):
        literals.append(text[at : hole.start(2) - 1].encode("ascii"))
        holes.append(hole[2])
        quoted.append(bool(hole[1] and hole[3]))
        at = hole.end(2) + 1
    literals.append(text[at:].encode("ascii"))
    once = [name for name in holes if name not in {"text", "int", "bool"}]
    missing = [name for name in _NEEDED if name not in once]
    if not {"maker", "side"} & set(once):
        missing.append("maker or side")
    if ("first" in once) is not ("last" in once):
        missing.append("first and last")
    if missing or len(set(once)) != len(once):
        said = f"misses {', '.join(missing)}" if missing else "has a hole twice"
        raise ValueError(f"a shape of a trade {said}: {text}")
    return Shape(
        literals,
        holes,
        quoted,
        exchange=exchange,
        routes=routes,
        units=units,
        unsaid=unsaid,
    )


@final
class Scanner:
    """The short cut of one connection.

    Args:
        shapes: to read by; whichever fitted last is tried first.
    """

    __slots__ = ("_shapes",)

    def __init__(self, shapes: Iterable[Shape]) -> None:
        self._shapes = list(shapes)

    @classmethod
    def of(
        cls,
        *texts: tuple[str, Routes],
        exchange: ExchangeId,
        units: tuple[AmountUnit, AmountUnit],
        unsaid: int | None = None,
    ) -> "Scanner | None":
        """Make one (see `make_shapes`); None where nothing was compiled."""
        if not COMPILED:
            return None
        return cls(make_shapes(texts, exchange=exchange, units=units, unsaid=unsaid))

    def scan(
        self, payloads: list[bytes], place: int, *, time: int, events: list[Any]
    ) -> int:
        """Append the trades from `place` on; return where the first other message is.

        Args:
            payloads: messages.
            place: which to begin with.
            time: when they were received, ns since epoch.
            events: where to append a `MarketEvent` for each.
        """
        return scan(payloads, place, time, self._shapes, events)
