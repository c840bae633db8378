"""Ids that come out the same in every run."""

import random
from typing import final

from flowtrade.ids import TimeOrderedIds
from flowtrade.models.ids import Id
from netcore.models import Timestamp

__all__ = ["SeededIds"]


@final
class SeededIds:
    """The port `IdFactory` with a seeded generator.

    Args:
        seed: Equal seeds and equal calls make equal ids.
    """

    def __init__(self, seed: int = 0) -> None:
        self._ids = TimeOrderedIds(random.Random(seed).getrandbits)  # noqa: S311  # repeatable on purpose

    def demand_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the next id."""
        return self._ids.demand_id(app_data, now)

    def portfolio_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the next id."""
        return self._ids.portfolio_id(app_data, now)

    def product_id(self, app_data: bytes, now: Timestamp) -> Id:
        """Return the next id, or the one that app_data implies."""
        return self._ids.product_id(app_data, now)
