"""What every connector must do, whatever its venue."""

import datetime as dt
import importlib.util
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import (
    IntegrationError,
    Unidentifiable,
    Unsupported,
    UnsupportedSubKind,
)
from integration.exchanges.registry import connector_for, exchanges, folder_of
from integration.instruments import listing_for
from integration.market import notices
from integration.market.connector import RouteTable, Topic, UnknownChannelError
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OptionKind,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)

ROOT = Path(__file__).resolve().parents[3]
WIRE = ROOT / "../shared/data/wire"
NOW = 1_700_000_000_000_000_000
EXPIRY = int(dt.datetime(2027, 3, 26, 8, tzinfo=dt.UTC).timestamp()) * 10**9

OUTPUTS = (
    MarketEvent,
    IntegrationError,
    *(
        getattr(notices, name)
        for name in notices.__all__
        if name[0].isupper() and name not in {"Notice", "Output", "InfoAction"}
    ),
)

INSTRUMENTS = [
    MarketDataInstrument.spot("btc", "usdt"),
    MarketDataInstrument.spot("xbt", "usd"),
    MarketDataInstrument.perpetual("btc", "usdt"),
    MarketDataInstrument.perpetual("btc", "usd"),
    MarketDataInstrument.future("btc", "usdt", expiry=EXPIRY),
    MarketDataInstrument.option(
        "btc", "usdt", kind=OptionKind.CALL, strike=Decimal(35000), expiry=EXPIRY
    ),
]


def offered(exchange):
    """Every (subscription, topic) that a connector offers for our instruments."""
    connector = connector_for(exchange)
    found = []
    for instrument in INSTRUMENTS:
        for kind in SubKind:
            interval = "5m" if kind is SubKind.CANDLES else None
            subscription = Subscription(exchange, instrument, kind, interval)
            try:
                found.append((subscription, connector.topic(subscription)))
            except UnsupportedSubKind:
                continue
    return found


def streamed(exchange):
    """Those of them that are on a stream."""
    connector = connector_for(exchange)
    return [(s, t) for s, t in offered(exchange) if connector.poll_request(t) is None]


def vector_lines(exchange):
    path = WIRE / f"{exchange}.json"
    if not path.exists():
        return []
    return [
        row["raw_text"]
        for row in json.loads(path.read_bytes())
        if row["direction"] == "in" and row["transport"] == "ws"
    ]


@pytest.mark.parametrize("exchange", exchanges())
def test_every_connector_offers_trades_and_books(exchange):
    kinds = {subscription.kind for subscription, _ in offered(exchange)}

    assert {SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2} <= kinds
    assert SubKind.ORDER_BOOKS_L3 not in kinds


@pytest.mark.parametrize("exchange", exchanges())
def test_requests_are_json_and_name_their_topics(exchange):
    connector = connector_for(exchange)
    topics = list(dict.fromkeys(topic for _, topic in streamed(exchange)))

    requests = connector.subscribe(topics, first_id=5, time=NOW)

    assert [t for r in requests for t in r.topics] == topics
    for request in requests:
        text = request.payload.decode()
        assert isinstance(json.loads(text), dict)
        for topic in request.topics:
            # Gate.io's candles are named by what they are asked for: 5m_BTC_USDT.
            for part in topic.market.lower().split("_", 1):
                assert part in text.lower()
        assert connector.expected_responses(request.topics) >= 1
        for topic in request.topics:
            url = connector.endpoint(topic, connector.websocket_url)
            assert url.startswith("wss://")


@pytest.mark.parametrize("exchange", exchanges())
def test_requests_to_leave_are_json_too(exchange):
    connector = connector_for(exchange)
    topics = [msg_bound(connector, topic) for _, topic in streamed(exchange)]

    requests = connector.unsubscribe(topics, first_id=5, time=NOW)

    assert requests
    for request in requests:
        assert "unsub" in request.payload.decode().lower()


def msg_bound(connector, topic):
    """Give a topic the number that Bitfinex leaves it by."""
    transformer = connector.transformer()
    if hasattr(transformer, "bind"):
        transformer.bind(17, topic)
    return transformer.bound(topic)


@pytest.mark.parametrize("exchange", exchanges())
def test_three_hundred_topics_fit_the_venues_limits(exchange):
    connector = connector_for(exchange)
    (_, sample), *_ = offered(exchange)
    topics = [
        Topic(sample.channel, f"{sample.market}{i}", sample.parameters)
        for i in range(300)
    ]

    requests = connector.subscribe(topics, first_id=1, time=NOW)

    limits = connector.limits
    assert [t for r in requests for t in r.topics] == topics
    assert all(len(r.topics) <= limits.topics_per_message for r in requests)
    assert all(len(r.payload) <= limits.bytes_per_message for r in requests)
    ids = [r.request_id for r in requests if r.request_id is not None]
    assert len(set(ids)) == len(ids)


def test_a_topic_of_bitfinex_that_has_no_number_yet_cannot_be_left():
    transformer = connector_for(ExchangeId.BITFINEX).transformer()

    assert transformer.bound(Topic("book", "tBTCUSD", ("25",))) is None


@pytest.mark.parametrize("exchange", exchanges())
def test_pings_and_greetings_are_text(exchange):
    connector = connector_for(exchange)
    topics = [topic for _, topic in offered(exchange)]

    for payload in connector.greeting(topics):
        json.loads(payload)
    if connector.ping is not None:
        assert connector.ping.interval > 0
        assert connector.ping.message(NOW).decode()


@pytest.mark.parametrize("exchange", exchanges())
def test_every_connector_has_a_sequence_rule_and_images_where_it_needs_them(exchange):
    connector = connector_for(exchange)
    topic = next(t for s, t in offered(exchange) if s.kind is SubKind.ORDER_BOOKS_L2)

    if connector.rule.images == "http":
        assert connector.rest_url.startswith("https://")
        request = connector.image_request(topic, 10)
        assert request.path().startswith("/")
        assert request.weight >= 1
    else:
        with pytest.raises(UnsupportedSubKind):
            connector.image_request(topic, 10)
        with pytest.raises(UnsupportedSubKind):
            connector.image(object())


@pytest.mark.parametrize("exchange", exchanges())
def test_candles_of_an_interval_that_is_not_offered_are_refused(exchange):
    connector = connector_for(exchange)
    for instrument in INSTRUMENTS:
        subscription = Subscription(exchange, instrument, SubKind.CANDLES, "7m")
        with pytest.raises(UnsupportedSubKind):
            connector.topic(subscription)


@pytest.mark.parametrize("exchange", exchanges())
def test_a_deeper_book_than_offered_is_the_deepest_there_is(exchange):
    connector = connector_for(exchange)
    subscription = next(
        s for s, _ in offered(exchange) if s.kind is SubKind.ORDER_BOOKS_L2
    )
    deep = Subscription(
        exchange, subscription.instrument, subscription.kind, None, 10**6
    )

    topic = connector.topic(deep)

    assert topic.market == connector.native(subscription.instrument)
    assert connector.book_depth(deep) is None or connector.book_depth(deep) > 0


@pytest.mark.parametrize("exchange", exchanges())
@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"{}", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 5000, b"[[]]"],
)
def test_what_no_venue_sends_is_an_error_value(exchange, payload):
    outputs = list(connector_for(exchange).transformer().feed(payload, NOW))

    assert outputs
    assert not any(isinstance(output, MarketEvent) for output in outputs)
    assert not any(isinstance(o, IntegrationError) and o.terminal for o in outputs)


@pytest.mark.parametrize("exchange", exchanges())
def test_messages_of_subscriptions_nobody_made_are_unidentifiable(exchange):
    for line in vector_lines(exchange):
        outputs = connector_for(exchange).transformer().feed(line.encode(), NOW)
        for output in outputs:
            assert not isinstance(output, MarketEvent), line


WEIRD = st.one_of(
    st.sampled_from([None, True, -1, 0, 1e308, 10**30, [], {}, [[]], [None], {"a": 1}]),
    st.sampled_from(["", "NaN", "Infinity", "-1", "1_0", " 1", "x", "9" * 100]),
    st.sampled_from(["2020-13-45T99:99:99Z", "\u0661"]),
)


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*path, i))
    yield path


def replaced(value, path, new):
    if not path:
        return new
    key, *rest = path
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[key] = replaced(value[key], rest, new)
    return copy


class EveryRoute(RouteTable):
    """Everything is subscribed to, so that every branch is reached."""

    class _Channel(dict):
        def get(self, market, default=None):
            return INSTRUMENTS[0]

    def channel(self, channel):
        return self._Channel()


WITH_VECTORS = [exchange for exchange in exchanges() if vector_lines(exchange)]
needs_vectors = pytest.mark.skipif(not WITH_VECTORS, reason=f"{WIRE} absent")


@needs_vectors
@given(st.sampled_from(WITH_VECTORS or exchanges()), st.data())
def test_no_message_however_bent_raises_or_lets_a_bad_number_through(exchange, data):
    lines = [line for line in vector_lines(exchange) if line[0] in "[{"]
    transformer = connector_for(exchange).transformer(EveryRoute())
    if hasattr(transformer, "bind"):
        for number, channel in ((420191, "trades"), (10961, "book")):
            transformer.bind(number, Topic(channel, "tBTCUSD"))
    value = json.loads(data.draw(st.sampled_from(lines)))
    path = data.draw(st.sampled_from(list(leaves(value))))
    bent = json.dumps(replaced(value, path, data.draw(WEIRD)))

    for output in transformer.feed(bent.encode(), NOW):
        assert isinstance(output, OUTPUTS), output
        if isinstance(output, MarketEvent) and isinstance(output.kind, PublicTrade):
            assert output.kind.price.is_finite()
            assert output.kind.amount.is_finite()
            assert output.kind.amount >= 0


@needs_vectors
@given(st.sampled_from(WITH_VECTORS or exchanges()), st.data())
def test_no_message_cut_anywhere_raises(exchange, data):
    line = data.draw(st.sampled_from(vector_lines(exchange))).encode()
    cut = line[: data.draw(st.integers(0, len(line)))]

    outputs = list(connector_for(exchange).transformer(EveryRoute()).feed(cut, NOW))

    assert all(isinstance(output, OUTPUTS) for output in outputs)


def test_every_kind_of_order_book_event_keeps_its_levels_as_pairs_of_text():
    for exchange in exchanges():
        transformer = connector_for(exchange).transformer(EveryRoute())
        for line in vector_lines(exchange):
            for output in transformer.feed(line.encode(), NOW):
                kind = getattr(output, "kind", None)
                if isinstance(kind, OrderBookSnapshot | OrderBookUpdate):
                    for level in (*kind.bids, *kind.asks):
                        price, amount = level
                        assert isinstance(price, str)
                        assert isinstance(amount, str)


def test_servers_of_one_venue_share_its_folder():
    spot, swaps = ExchangeId.BYBIT_SPOT, ExchangeId.BYBIT_PERPETUALS_USD

    assert folder_of(spot) == folder_of(swaps) == "integration.exchanges.bybit"
    for exchange in exchanges():
        assert type(connector_for(exchange)).__module__.startswith(folder_of(exchange))
        assert listing_for(exchange).exchange is exchange
    for find in (folder_of, listing_for):
        with pytest.raises(Unsupported, match="known are binance_futures_coin"):
            find(ExchangeId.KUCOIN)


def test_an_exchange_without_a_connector_is_a_named_error():
    with pytest.raises(Unsupported, match="known are binance_futures_coin"):
        connector_for(ExchangeId.KUCOIN)
    assert connector_for(ExchangeId.OKX) is connector_for(ExchangeId.OKX)


@pytest.mark.parametrize(
    ("exchange", "line"),
    [
        ("okx", '{"arg":{"channel":"gossip","instId":"X"},"data":[]}'),
        ("okx", '{"data":[1],"arg":{"channel":"gossip","instId":"X"}}'),
        ("bybit_spot", '{"topic":"gossip.X","data":[]}'),
        ("bitmex", '{"table":"gossip","data":[]}'),
    ],
)
def test_a_channel_that_is_not_known_is_unidentifiable(exchange, line):
    transformer = connector_for(ExchangeId(exchange)).transformer()

    (output,) = transformer.feed(line.encode(), NOW)

    assert isinstance(output, Unidentifiable)
    with pytest.raises(UnknownChannelError) as caught:
        transformer.decode(line.encode())
    assert caught.value.channel == "gossip"


@pytest.mark.parametrize("exchange", exchanges())
def test_keys_in_another_order_change_nothing(exchange):
    """Venues write keys in one order; that is an optimisation's guess, not a rule."""
    for line in vector_lines(exchange):
        if line[0] != "{":
            continue
        mirrored = json.dumps(mirror(json.loads(line, parse_float=Spelled)))
        first = connector_for(exchange).transformer(EveryRoute())
        second = connector_for(exchange).transformer(EveryRoute())
        plain = list(first.feed(line.encode(), NOW))
        other = list(second.feed(mirrored.encode(), NOW))
        assert [type(x) for x in plain] == [type(x) for x in other], line
        events = [x for x in plain if isinstance(x, MarketEvent)]
        assert events == [x for x in other if isinstance(x, MarketEvent)], line


class Spelled(float):
    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self):
        return self.text


def mirror(value):
    if isinstance(value, dict):
        return {key: mirror(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [mirror(inner) for inner in value]
    return value


def adapter():
    path = ROOT / "tests/adapters/parse_recorded.py"
    spec = importlib.util.spec_from_file_location("parse_recorded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("BINANCE", "binance_spot"),
        ("BINANCE_FUTURES", "binance_futures_usd"),
        ("BITFINEX", "bitfinex"),
        ("BITMEX", "bitmex"),
        ("BITSTAMP", "bitstamp"),
        ("BYBIT", "bybit_perpetuals_usd"),
        ("COINBASE", "coinbase"),
        ("DERIBIT", "deribit"),
        ("GATEIO", "gateio_spot"),
        ("GATEIO_FUTURES", "gateio_perpetuals_usd"),
        ("KRAKEN", "kraken"),
        ("OKX", "okx"),
    ],
)
def test_the_adapter_finds_the_trades_of_recorded_lines(name, file):
    path = WIRE / f"{file}.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    found = 0
    for row in json.loads(path.read_bytes()):
        wanted = [e for e in row["expect"].get("events", ()) if e["kind"] == "trade"]
        if not wanted:
            continue
        found += 1
        assert adapter().parse(name, row["raw_text"]) == [
            {key: event[key] for key in ("kind", "side", "price", "amount", "id")}
            for event in wanted
        ]
    assert found


def test_the_adapter_refuses_what_it_does_not_know():
    parse = adapter().parse

    with pytest.raises(ValueError, match="unknown exchange 'MTGOX'"):
        parse("MTGOX", "{}")
    with pytest.raises(ValueError, match="payload"):
        parse("BINANCE", '{"e":"trade"')
    assert parse("BITMEX", '{"table":"instrument","action":"update","data":[]}') == []
    assert parse("KRAKEN", '{"event":"heartbeat"}') == []


def test_a_connector_brings_only_its_own_venue():
    code = (
        "import sys\n"
        "from integration.exchanges.registry import connector_for\n"
        "from integration.models import ExchangeId\n"
        "connector_for(ExchangeId.KRAKEN)\n"
        "print(sorted(m.split('.')[2] for m in sys.modules\n"
        "      if m.startswith('integration.exchanges.') and m.count('.') == 2))"
    )

    run = subprocess.run(  # noqa: S603  our own interpreter and a constant program
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "['kraken', 'registry', 'shared']"
