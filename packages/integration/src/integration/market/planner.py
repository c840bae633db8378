"""Which subscriptions share a connection. Pure.

Subscriptions are grouped by exchange and URL, then cut into connections that the
venue's limits allow. Subscriptions that the venue serves by one topic (liquidations
of all swaps) count once.
"""

from collections.abc import Callable, Iterable, Mapping

from integration.errors import SubscriptionsEmpty
from integration.market.connector import Connector, Topic
from integration.models import ExchangeId, Subscription, normalise_subscriptions
from netcore.models import Model

__all__ = ["ConnectionPlan", "Wanted", "plan"]


class Wanted(Model, frozen=True):
    """A subscription with the topic that serves it."""

    subscription: Subscription
    topic: Topic


class ConnectionPlan(Model, frozen=True):
    """One connection to open.

    Attributes:
        exchange: to whom.
        url: where.
        wanted: what it is to carry, in order.
        polled: whether it is asked for by HTTP, because it is on no stream.
    """

    exchange: ExchangeId
    url: str
    wanted: tuple[Wanted, ...]
    polled: bool = False

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics, each once."""
        return tuple(dict.fromkeys(w.topic for w in self.wanted))


def plan(
    subscriptions: Iterable[Subscription],
    *,
    connector_for: Callable[[ExchangeId], Connector],
    websocket_url: Mapping[str, str],
    rest_url: Mapping[str, str] | None = None,
) -> list[ConnectionPlan]:
    """Group subscriptions into connections.

    Args:
        subscriptions: in any order, repeated ones count once.
        connector_for: finds an exchange's connector.
        websocket_url: replaces an exchange's base URL.
        rest_url: replaces an exchange's base URL of HTTP, for what is polled.

    Raises:
        SubscriptionsEmpty: there is nothing to subscribe to.
        Unsupported: an exchange has no connector.
        UnsupportedSubscription: a venue does not offer one of them; nothing is
            planned then.
    """
    groups: dict[tuple[ExchangeId, str, bool], list[Wanted]] = {}
    for subscription in normalise_subscriptions(subscriptions):
        connector = connector_for(subscription.exchange)
        topic = connector.topic(subscription)
        exchange = subscription.exchange
        polled = connector.poll_request(topic) is not None
        if polled:
            url = (rest_url or {}).get(exchange, connector.rest_url or "")
        else:
            base = websocket_url.get(exchange, connector.websocket_url)
            url = connector.endpoint(topic, base)
        key = (exchange, url, polled)
        wanted = Wanted(subscription=subscription, topic=topic)
        groups.setdefault(key, []).append(wanted)
    if not groups:
        msg = "no subscriptions were given: name at least one"
        raise SubscriptionsEmpty(msg)
    plans: list[ConnectionPlan] = []
    for (exchange, url, polled), wanted_here in groups.items():
        most = connector_for(exchange).limits.topics_per_connection
        plans.extend(
            ConnectionPlan(exchange=exchange, url=url, wanted=part, polled=polled)
            for part in _parts(wanted_here, len(wanted_here) if polled else most)
        )
    return plans


def _parts(wanted: list[Wanted], most: int) -> list[tuple[Wanted, ...]]:
    """Cut at `most` different topics, never between two that share one."""
    by_topic: dict[Topic, list[Wanted]] = {}
    for each in wanted:
        by_topic.setdefault(each.topic, []).append(each)
    topics = list(by_topic)
    return [
        tuple(w for topic in topics[i : i + most] for w in by_topic[topic])
        for i in range(0, len(topics), most)
    ]
