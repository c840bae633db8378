"""A strategy at work: it looks at the feed, bids over HTTP, and takes its bids back.

Every round is one submission: all curves of the bidder change in one transaction, so
no batch ever sees half of a round. Ids are derived from the bidder and the bid's name,
so a bidder that starts again continues its old bids instead of making twins.
"""

import logging
from collections.abc import Mapping
from typing import final
from uuid import UUID, uuid5

import msgspec
import trio

from bidders.strategies import Strategy
from flowtrade.client import FlowtradeClient
from flowtrade.errors import ApiError, ConnectionFailed
from flowtrade.feed import MarketFeed
from flowtrade.liquidity import BookView
from flowtrade.models.curve import Curve, curve_to_builtins
from flowtrade.models.ids import Id
from flowtrade.models.submission import (
    Submission,
    SubmissionRecord,
    SubmittedDemand,
    SubmittedPortfolio,
)

__all__ = ["Bidder", "FeedView", "UnknownProduct"]

_WITHDRAW_SECONDS = 0.5
"""How long taking bids back may hold up the end of the program."""

_RETRYABLE = frozenset({429, 500, 502, 503, 504})

_log = logging.getLogger(__name__)


class UnknownProduct(ValueError):
    """A strategy bids for a product that the market does not have."""


@final
class FeedView:
    """The market as a strategy sees it; products by name.

    Args:
        feed: Keyed by product name.
    """

    def __init__(self, feed: MarketFeed) -> None:
        self.round = 0
        self._feed = feed

    def book(self, product: str) -> BookView | None:
        """The order book behind a product, if it has one."""
        return self._feed.book(product)

    def mid(self, product: str) -> float | None:
        """The product's mid price, None while its book may not be believed."""
        return self._feed.mid(product)


@final
class Bidder:
    """One bidder.

    Args:
        client: With the bidder's token.
        bidder: Its id, the token's subject.
        strategy: What it wants.
        feed: Keyed by product name.
        products: Product name -> id.

    Raises:
        UnknownProduct: The strategy names a product that is not among them.
    """

    def __init__(
        self,
        client: FlowtradeClient,
        bidder: Id,
        strategy: Strategy,
        *,
        feed: MarketFeed,
        products: Mapping[str, Id],
    ) -> None:
        missing = {p for basis in strategy.bids.values() for p in basis} - set(products)
        if missing:
            msg = f"{strategy.name} bids for {sorted(missing)}; the market has "
            raise UnknownProduct(msg + f"{sorted(products)}")
        self.name = strategy.name
        self.view = FeedView(feed)
        self._client = client
        self._strategy = strategy
        self._products = dict(products)
        namespace = UUID(bidder)
        self._demands = {
            bid: str(uuid5(namespace, f"demand/{bid}")) for bid in strategy.bids
        }
        self._portfolios = {
            bid: str(uuid5(namespace, f"portfolio/{bid}")) for bid in strategy.bids
        }

    async def start(self) -> None:
        """Make the bids that do not exist yet, and set all portfolios; no curves."""
        demands, portfolios = [], []
        for bid, basis in self._strategy.bids.items():
            named = msgspec.UNSET if await self._exists(bid) else {"name": bid}
            demands.append(
                SubmittedDemand(id=self._demands[bid], app_data=named, curve_data=None)
            )
            portfolios.append(
                SubmittedPortfolio(
                    id=self._portfolios[bid],
                    app_data=named,
                    demand={self._demands[bid]: 1.0},
                    basis={self._products[p]: w for p, w in basis.items()},
                )
            )
        await self._client.submit(Submission(demands=demands, portfolios=portfolios))

    async def step(self) -> SubmissionRecord:
        """Look once, bid once.

        Raises:
            ApiError: The service refused.
            ConnectionFailed: It could not be reached.
        """
        curves = self._strategy.quote(self.view)
        self.view.round += 1
        return await self._client.submit(self._submission(curves))

    async def withdraw(self) -> None:
        """Take all bids back; nothing of the bidder is in later batches."""
        await self._client.submit(Submission())

    async def run(self, *, every: float) -> None:
        """Bid every `every` seconds until cancelled; then take the bids back.

        A round that fails because the service is busy or away is logged and left out.

        Raises:
            ApiError: The service refused for a reason that waiting does not mend.
        """
        try:
            while True:
                await self._round()
                await trio.sleep(every)
        finally:
            with trio.move_on_after(_WITHDRAW_SECONDS, shield=True):
                try:
                    await self.withdraw()
                except (ApiError, ConnectionFailed) as error:
                    _log.warning(
                        "%s: bids could not be taken back: %s", self.name, error
                    )

    async def _round(self) -> None:
        try:
            await self.step()
        except ConnectionFailed as error:
            _log.warning("%s: round left out: %s", self.name, error)
        except ApiError as error:
            if error.status not in _RETRYABLE:
                raise
            _log.warning("%s: round left out: %s", self.name, error)

    async def _exists(self, bid: str) -> bool:
        try:
            await self._client.demand(self._demands[bid])
            await self._client.portfolio(self._portfolios[bid])
        except ApiError as error:
            if error.status != 404:  # Not Found
                raise
            return False
        return True

    def _submission(self, curves: Mapping[str, Curve | None]) -> Submission:
        # What is left out of an entry stays as it is; what is not listed is stopped.
        return Submission(
            demands=[
                SubmittedDemand(id=key, curve_data=curve_to_builtins(curves[bid]))
                for bid, key in self._demands.items()
            ],
            portfolios=[
                SubmittedPortfolio(id=key) for key in self._portfolios.values()
            ],
        )
