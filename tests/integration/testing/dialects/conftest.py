"""An exchange that stands still, for dialects to speak for."""

import pytest

from integration.testing.book import PriceBook
from integration.testing.dialect import Limits, SnapshotView
from integration.testing.events import SymbolSpec

MS = 1_000_000
ONE = 100_000_000


class View:
    """One symbol, BTCUSDT; books that a test may change."""

    def __init__(self, limits: Limits | None = None) -> None:
        spec = SymbolSpec(
            symbol="BTCUSDT", base="BTC", quote="USDT", tick=1_000_000, lot=1_000
        )
        self.specs = {"BTCUSDT": spec}
        self.limits = limits or Limits(messages_per_second=10**6)
        self.skew = 0
        bids = [(ONE * n, ONE) for n in range(1, 2001)]
        asks = [(ONE * n, ONE) for n in range(3000, 3010)]
        self.books = {
            SnapshotView.LIVE: PriceBook("BTCUSDT", 77, bids=bids, asks=asks),
            SnapshotView.PUBLISHED: PriceBook("BTCUSDT", 70, bids=bids, asks=asks),
        }

    @property
    def published(self) -> PriceBook:
        return self.books[SnapshotView.PUBLISHED]

    def clock_ns(self) -> int:
        return 5_000 * MS + self.skew

    def skew_ns(self) -> int:
        return self.skew

    def snapshot(self, symbol: str, view: SnapshotView) -> PriceBook | None:
        return self.books.get(view) if symbol in self.specs else None


@pytest.fixture(scope="session")  # the class itself: nothing to reset
def make_view():
    """Make a `View`, with limits if need be."""
    return View
