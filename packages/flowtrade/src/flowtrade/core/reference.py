"""The use cases of reference prices: taking them in, and telling them on."""

import trio

from flowtrade.core.usecase import UseCases
from flowtrade.errors import InvalidRequest
from flowtrade.models.ids import Id
from flowtrade.models.time import format_timestamp
from flowtrade.models.update import ReferenceUpdate
from netcore.models import Timestamp

__all__ = ["References"]


class References(UseCases):
    """What feeds ask for."""

    _reference_times: dict[Id, Timestamp]
    _dirty: set[Id]
    _news: trio.Event

    def set_reference(self, product: Id, price: float, time: Timestamp) -> None:
        """Take in a reference price, such as an exchange's mid.

        It is stored with the next batch, breaks ties between prices the auction
        leaves open, and is published. An older price than the one known is ignored.

        Raises:
            NotFound: There is no such product.
            InvalidRequest: The price is no finite number.
        """
        self._product(product)
        if not abs(price) < float("inf"):  # false for NaN, too
            raise InvalidRequest(f"a reference price is finite, was {price}")
        if time < self._reference_times.get(product, time):
            return
        self._reference_times[product] = time
        self.auctioneer.reference[product] = price
        self._dirty.add(product)
        self._news.set()

    def clear_reference(self, product: Id, time: Timestamp) -> None:
        """Forget a reference price whose source may not be believed any more.

        Batches carry none until there is a new one, and the public stream says null.

        Raises:
            NotFound: There is no such product.
        """
        self._product(product)
        if self.auctioneer.reference.pop(product, None) is None:
            return
        self._reference_times[product] = max(
            time, self._reference_times.get(product, time)
        )
        self._dirty.add(product)
        self._news.set()

    def publish_reference(self) -> None:
        """Publish the reference prices that changed since the last call, if any."""
        if not self._dirty:
            return
        known = self.auctioneer.reference
        mids = {key: known.get(key) for key in sorted(self._dirty)}
        time = max(self._reference_times[key] for key in mids)
        self._dirty.clear()
        update = ReferenceUpdate(time=format_timestamp(time), mids=mids)
        self._publisher.publish(("market", ""), update)

    async def _tell_references(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            self.publish_reference()
            await trio.sleep(self._settings.coalesce)
