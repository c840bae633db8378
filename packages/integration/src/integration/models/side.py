"""The side of a trade or an order. Nothing else lives here."""

from enum import StrEnum

__all__ = ["Side"]


class Side(StrEnum):
    """Buy or sell.

    Of a public trade it is the taker's side, whatever the venue reports; of a
    liquidation, the side of the liquidation order. Decodes `buy`, `Buy`, `BUY`,
    `b`, `B` and the same spellings of sell.
    """

    BUY = "buy"
    SELL = "sell"

    @classmethod
    def _missing_(cls, value: object) -> "Side | None":
        return _ALIASES.get(value) if isinstance(value, str) else None

    def opposite(self) -> "Side":
        """Return the other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


_ALIASES = {
    "b": Side.BUY,
    "B": Side.BUY,
    "Buy": Side.BUY,
    "BUY": Side.BUY,
    "s": Side.SELL,
    "S": Side.SELL,
    "Sell": Side.SELL,
    "SELL": Side.SELL,
}
