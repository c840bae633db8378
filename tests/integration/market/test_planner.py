import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import SubscriptionsEmpty, Unsupported, UnsupportedSubKind
from integration.exchanges.registry import connector_for
from integration.market.planner import plan
from integration.models import MarketDataInstrument, SubKind, Subscription

KINDS = (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2)


def planned(subscriptions, **urls):
    return plan(subscriptions, connector_for=connector_for, websocket_url=urls)


def spot(exchange, base, kind=SubKind.PUBLIC_TRADES):
    return Subscription(exchange, MarketDataInstrument.spot(base, "usdt"), kind)


def test_subscriptions_of_one_place_share_a_connection():
    subscriptions = [spot("okx", "btc", kind) for kind in KINDS]

    (connection,) = planned(subscriptions)

    assert connection.exchange == "okx"
    assert connection.url == "wss://ws.okx.com:8443/ws/v5/public"
    assert {w.subscription for w in connection.wanted} == set(subscriptions)


def test_exchanges_and_paths_get_connections_of_their_own():
    candles = spot("okx", "btc", SubKind.CANDLES)

    plans = planned([spot("okx", "btc"), candles, spot("binance_spot", "btc")])

    assert sorted(p.url for p in plans) == [
        "wss://stream.binance.com:9443/ws",
        "wss://ws.okx.com:8443/ws/v5/business",
        "wss://ws.okx.com:8443/ws/v5/public",
    ]


def test_a_replaced_url_keeps_the_venues_paths():
    candles = spot("okx", "btc", SubKind.CANDLES)

    (connection,) = planned([candles], okx="ws://127.0.0.1:1/ws/v5/public")

    assert connection.url == "ws://127.0.0.1:1/ws/v5/business"


def test_repeated_subscriptions_count_once():
    (connection,) = planned([spot("okx", "btc")] * 3)

    assert len(connection.wanted) == 1


def test_subscriptions_that_one_topic_serves_stay_together():
    swaps = [
        Subscription(
            "okx", MarketDataInstrument.perpetual(base, "usdt"), SubKind.LIQUIDATIONS
        )
        for base in ("btc", "eth")
    ]

    (connection,) = planned(swaps)

    assert len(connection.wanted) == 2
    assert len(connection.topics) == 1


@given(st.sampled_from(["bitfinex", "binance_spot", "okx"]), st.integers(1, 60))
def test_no_connection_carries_more_than_the_venue_allows(exchange, count):
    quote = "usd" if exchange == "bitfinex" else "usdt"
    subscriptions = [
        Subscription(exchange, MarketDataInstrument.spot(f"a{i:02}", quote), kind)
        for i in range(count)
        for kind in KINDS
    ]

    plans = planned(subscriptions)

    most = connector_for(plans[0].exchange).limits.topics_per_connection
    assert all(len(p.topics) <= most for p in plans)
    assert len(plans) == -(-2 * count // most)
    assert {w.subscription for p in plans for w in p.wanted} == set(subscriptions)


def test_nothing_is_planned_if_one_subscription_cannot_be():
    with pytest.raises(SubscriptionsEmpty):
        planned([])
    with pytest.raises(UnsupportedSubKind):
        planned([spot("okx", "btc"), spot("kraken", "btc", SubKind.LIQUIDATIONS)])
    with pytest.raises(Unsupported):
        planned([spot("simulated", "btc")])


def test_what_is_on_no_stream_is_planned_apart_at_its_rest_url():
    swap = MarketDataInstrument.perpetual("btc", "usdt")
    wanted = [
        Subscription("binance_futures_usd", swap, kind)
        for kind in (SubKind.MARK_PRICES, SubKind.OPEN_INTEREST)
    ]

    plans = planned(wanted)
    (moved,) = plan(
        wanted[1:],
        connector_for=connector_for,
        websocket_url={},
        rest_url={"binance_futures_usd": "http://127.0.0.1:1"},
    )

    assert sorted((p.url, p.polled) for p in plans) == [
        ("https://fapi.binance.com", True),
        ("wss://fstream.binance.com/ws", False),
    ]
    assert (moved.url, moved.polled) == ("http://127.0.0.1:1", True)


def test_kinds_that_share_a_topic_are_asked_for_once():
    swap = MarketDataInstrument.perpetual("btc", "usdt")
    kinds = (SubKind.FUNDING_RATES, SubKind.MARK_PRICES, SubKind.OPEN_INTEREST)

    (connection,) = planned(
        [Subscription("bybit_perpetuals_usd", swap, kind) for kind in kinds]
    )

    assert len(connection.wanted) == 3
    assert [topic.id for topic in connection.topics] == ["tickers|BTCUSDT"]
