"""The ledger of subscriptions that the venue has not confirmed yet.

Pure: it is told what was sent, what came back and what time it is. A request's
deadline is fixed when it is sent. Data that flow meanwhile do not move it: on a
chatty connection a subscription that nobody confirms would otherwise never fail.

Venues confirm by topic, by request id, by channel only, or not identifiably at all;
the ledger tries these in that order, and within one takes the oldest request first.
"""

from collections.abc import Iterable
from typing import final

from integration.market.connector import Outgoing, Topic
from integration.market.notices import Ack, Refusal
from integration.models import SubscriptionId

__all__ = ["AckLedger"]


class _Pending:
    """One request that waits for its confirmations."""

    __slots__ = ("deadline", "expected", "request", "waiting")

    def __init__(self, request: Outgoing, expected: int, deadline: float) -> None:
        self.request = request
        self.expected = expected
        self.deadline = deadline
        self.waiting: dict[SubscriptionId, Topic] = {t.id: t for t in request.topics}

    def settle(self, topics: Iterable[SubscriptionId]) -> list[Topic]:
        """Stop waiting for topics; return those that were waited for."""
        return [self.waiting.pop(t) for t in list(topics) if t in self.waiting]

    def settle_one_response(self) -> list[Topic]:
        """Count an answer that names no topic."""
        self.expected -= 1
        if self.expected > 0:
            # Answers come in the order of the topics: the first one is confirmed.
            return self.settle(list(self.waiting)[:1])
        return self.settle(list(self.waiting))


@final
class AckLedger:
    """What was asked for and not yet confirmed, in the order it was sent."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    def __len__(self) -> int:
        """How many topics wait."""
        return sum(len(pending.waiting) for pending in self._pending)

    @property
    def deadline(self) -> float | None:
        """When the oldest request is due; None if nothing waits."""
        return min((pending.deadline for pending in self._pending), default=None)

    def sent(self, request: Outgoing, *, expected: int, deadline: float) -> None:
        """Note a request with topics.

        Args:
            request: what was sent.
            expected: how many answers the venue gives to it.
            deadline: until when, on any monotonic clock in seconds.
        """
        if request.topics:
            self._pending.append(_Pending(request, expected, deadline))

    def acknowledge(self, ack: Ack) -> list[Topic]:
        """Note a confirmation; return the topics that it newly confirms."""
        return self._settle(ack.topics, ack.request_id, ack.channel)

    def refuse(self, refusal: Refusal) -> list[Topic]:
        """Note a refusal; return the topics that will not come.

        A refusal that cannot be matched concerns the oldest request: nothing else is
        known to have been asked.
        """
        return self._settle(refusal.topics, refusal.request_id, refusal.channel)

    def forget(self, topics: Iterable[SubscriptionId]) -> None:
        """Wait no longer for topics (they were unsubscribed)."""
        wanted = list(topics)
        for pending in self._pending:
            pending.settle(wanted)
        self._sweep()

    def expired(self, now: float) -> list[Topic]:
        """Return, once, the topics of requests whose deadline has passed."""
        late = [pending for pending in self._pending if pending.deadline <= now]
        topics = [topic for pending in late for topic in pending.waiting.values()]
        for pending in late:
            pending.waiting.clear()
        self._sweep()
        return topics

    def _settle(
        self,
        topics: tuple[SubscriptionId, ...],
        request_id: str | None,
        channel: str | None,
    ) -> list[Topic]:
        if topics:
            settled = [t for p in self._pending for t in p.settle(topics)]
        else:
            pending = self._find(request_id, channel)
            settled = [] if pending is None else pending.settle_one_response()
        self._sweep()
        return settled

    def _find(self, request_id: str | None, channel: str | None) -> _Pending | None:
        if request_id is not None:
            for pending in self._pending:
                if pending.request.request_id == request_id:
                    return pending
        for pending in self._pending:
            known = pending.request.request_id
            if request_id is not None and known is not None:
                # Both sides use ids and they differ: an answer to something else.
                continue
            if channel is None or channel in {
                t.channel for t in pending.waiting.values()
            }:
                return pending
        return None

    def _sweep(self) -> None:
        self._pending = [pending for pending in self._pending if pending.waiting]
