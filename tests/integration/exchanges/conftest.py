"""Runs the wire vectors of a venue against its connector.

A test module names its file in `VECTORS` and its server in `EXCHANGE`; a test that
takes `row` runs once per row, a test that takes `replay` once per recorded session.
"""

import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from integration.errors import (
    DataError,
    Deserialise,
    Maintenance,
    RateLimited,
    Unidentifiable,
)
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    BookChecksum,
    Heartbeat,
    Ignored,
    Info,
    InfoAction,
    Pong,
    Refusal,
    Reply,
)
from integration.models import (
    Candle,
    ExchangeId,
    FundingRate,
    Liquidation,
    MarketDataInstrument,
    MarketEvent,
    OrderBookL1,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)

DATA = Path(__file__).resolve().parents[3] / "../shared/data/wire"
NOW = 1_700_000_000_123_456_789
RECEIVED = 1_700_000_000_000_000_000  # what `fed` says of all it feeds
BTC = MarketDataInstrument.perpetual("btc", "usdt")

# What the rows call an error, in our tree; the venue's code is compared besides.
ERRORS = {
    "DecodeError": (Deserialise, DataError),
    "UnidentifiableSubscription": (Unidentifiable,),
    "RateLimit": (RateLimited,),
    "Maintenance": (Maintenance,),
    "InstrumentInvalid": (Exception,),
}


def pytest_generate_tests(metafunc):
    module = metafunc.module
    if "row" in metafunc.fixturenames and hasattr(module, "VECTORS"):
        path = DATA / f"{module.VECTORS}.json"
        rows = json.loads(path.read_bytes()) if path.exists() else []
        ids = [f"{i}-{r['channel']}-{r['direction']}" for i, r in enumerate(rows)]
        metafunc.parametrize("row", rows or [None], ids=ids or ["absent"])
    if "replay" in metafunc.fixturenames and hasattr(module, "REPLAYS"):
        paths = [DATA / "replay" / f"{name}.json" for name in module.REPLAYS]
        metafunc.parametrize("replay", paths, ids=[path.stem for path in paths])


class Venue:
    """A connector under test, with the rows of its file."""

    def __init__(self, exchange, vectors, stateful):
        self.exchange = exchange
        self.connector = connector_for(exchange)
        self.stateful = stateful
        path = DATA / f"{vectors}.json"
        self.rows = json.loads(path.read_bytes()) if path.exists() else []

    # Messages to us

    def outputs(self, row):
        """Feed one row to a fresh transformer that expects its topics."""
        transformer = self.connector.transformer()
        rows = [row]
        if row["channel"] in self.stateful:
            run = [r for r in self.rows if r["channel"] == row["channel"]]
            run = [r for r in run if r["direction"] == "in"]
            rows = run[: run.index(row) + 1]
        for each in rows:
            self.expect_topics(transformer, each)
            out = list(transformer.feed(each["raw_text"].encode(), NOW))
        return out, transformer

    def expect_topics(self, transformer, row):
        """Subscribe to what the row is about; of a ticker that is funding alone."""
        expect = row["expect"]
        context = row.get("context", {})
        for channel_id, topic_id in context.items():
            channel, market = topic_id.split("|")
            topic = Topic(channel, market)
            transformer.add(topic, self.instrument(market))
            transformer.bind(int(channel_id), topic)
        kinds = {e.get("kind") for e in expect.get("events", [])}
        kind = SubKind.FUNDING_RATES if kinds == {"funding_rate"} else None
        names = {e.get("subscription_id") for e in expect.get("events", [])}
        names |= {expect.get("subscription_id"), *expect.get("subscription_ids", [])}
        for name in names - {None}:
            if name in context:
                continue
            channel, market = name.split("|")
            instrument = self.instrument(market)
            transformer.add(Topic(channel, market), instrument, kind=kind)
        for event in expect.get("events", []):
            if event.get("symbol") and event.get("subscription_id") not in context:
                channel = event["subscription_id"].split("|")[0]
                topic = Topic(channel, event["symbol"])
                transformer.add(topic, self.instrument(event["symbol"]), kind=kind)
        if expect["kind"] in {"heartbeat", "ignore"} and expect.get("symbol"):
            for channel in (row["channel"],):
                topic = Topic(channel, expect["symbol"])
                transformer.add(topic, self.instrument(expect["symbol"]))

    def instrument(self, symbol):
        try:
            return self.connector.instrument(symbol)
        except (DataError, ValueError):
            # A group of instruments (OKX's SWAP) or the whole venue.
            return MarketDataInstrument.spot(f"group-{symbol or 'all'}", "x")

    def check_in(self, row):
        if row["transport"] == "http":
            self.check_http(row)
            return
        out, _ = self.outputs(row)
        expect = row["expect"]
        check = getattr(self, f"check_{expect['kind']}")
        check(out, expect, row)

    def check_events(self, out, expect, row):
        assert all(isinstance(event, MarketEvent) for event in out), out
        wanted = expect["events"]
        assert len(out) == len(wanted), out
        for event, want in zip(out, wanted, strict=True):
            assert event.exchange is self.exchange
            assert event.time_received == NOW
            if want.get("symbol") is not None:
                assert event.instrument == self.instrument(want["symbol"])
            compare(event, want)

    def check_ack(self, out, expect, row):
        (ack,) = out
        assert isinstance(ack, Ack), ack
        if "id" in expect:
            assert ack.request_id == str(expect["id"])
        topics = expect.get("subscription_ids")
        if topics is None and "subscription_id" in expect:
            topics = [expect["subscription_id"]]
        if topics is not None:
            assert list(ack.topics) == topics
        if "channel" in expect:
            assert ack.channel == expect["channel"]
        if "channel_id" in expect:
            assert ack.channel_id == expect["channel_id"]

    def check_error(self, out, expect, row):
        (fault,) = out
        refusal = fault if isinstance(fault, Refusal) else None
        error = refusal.error if refusal else fault
        assert isinstance(error, Exception), error
        if "error" in expect:
            assert isinstance(error, ERRORS[expect["error"]]), error
        if expect.get("error") in {"DecodeError", "UnidentifiableSubscription"}:
            # One message is lost, the subscription is not.
            assert refusal is None
            assert not error.terminal
        else:
            assert refusal is not None
            assert refusal.fatal is expect["fatal"], error
        if "code" in expect:
            assert error.code == expect["code"]
        if "message" in expect:
            assert expect["message"] in str(error)
        if "id" in expect:
            assert refusal.request_id == str(expect["id"])
        if "subscription_id" in expect:
            assert refusal.topics == (expect["subscription_id"],)
        if "retry_after_s" in expect:
            assert error.retry_after == expect["retry_after_s"]

    def check_pong(self, out, expect, row):
        (pong,) = out
        assert isinstance(pong, Pong)
        if "id" in expect:
            assert pong.id == expect["id"]

    def check_heartbeat(self, out, expect, row):
        if expect.get("action") == "reply":
            assert [type(item) for item in out] == [Heartbeat, Reply]
            assert json.loads(out[1].payload) == expect["reply"]
            return
        (beat,) = out
        if isinstance(beat, MarketEvent):
            # A heartbeat of a book is decided by its sequencer; see the replays.
            assert beat.kind.sequence == beat.kind.prev_sequence == expect["sequence"]
            return
        assert isinstance(beat, Heartbeat), beat
        if "symbol" in expect:
            assert beat.instrument == self.instrument(expect["symbol"])
        if "sequence" in expect:
            assert beat.sequence == expect["sequence"]
        if "last_trade_id" in expect:
            assert beat.last_trade_id == expect["last_trade_id"]

    def check_info(self, out, expect, row):
        (info,) = out
        assert isinstance(info, Info)
        assert info.action == InfoAction(expect.get("action", "none"))
        if "status" in expect:
            assert info.status == expect["status"]
        if "code" in expect:
            assert info.code == expect["code"]

    def check_ignore(self, out, expect, row):
        assert all(isinstance(item, Ignored) for item in out), out

    def check_checksum(self, out, expect, row):
        (checksum,) = out
        assert isinstance(checksum, BookChecksum)
        assert checksum.checksum == expect["checksum"]

    def check_http(self, row):
        expect = row["expect"]
        payload = row["raw_text"].encode()
        market = row["request"].split("=")[1].split("&")[0] if "request" in row else ""
        topic = self.book_topic(market or "BTCUSDT")
        request = self.connector.image_request(topic, None)
        parser = self.connector.rest_parser()
        if expect["kind"] == "error":
            with pytest.raises(Exception) as caught:  # noqa: PT011  asserted below
                parser.parse(row["status"], {}, payload, request.response_type)
            assert isinstance(caught.value, ERRORS[expect["error"]])
            assert caught.value.code == expect["code"]
            assert caught.value.recoverable is not expect["fatal"]
            return
        response = parser.parse(200, {}, payload, request.response_type)
        image = self.connector.image(response)
        (want,) = expect["events"]
        event = MarketEvent(
            image.time_exchange or NOW,
            NOW,
            self.exchange,
            self.instrument(market),
            image.book,
        )
        compare(event, want)

    # Messages from us

    def check_out(self, row):
        expect = row["expect"]
        time = row["raw"].get("time", 0) * 10**9 if isinstance(row["raw"], dict) else 0
        if expect["kind"] == "ping":
            ping = self.connector.ping
            assert same(ping.message(time), row, ("reqid", "req_id", "cid"))
            return
        if "subscriptions" not in expect:
            topics = [self.book_topic(None)]
            sent = self.connector.greeting(topics)
            assert any(same(payload, row, ("id",)) for payload in sent), sent
            return
        topics = [self.topic(s) for s in expect["subscriptions"]]
        assert [t.id for t in topics] == [
            s["subscription_id"] for s in expect["subscriptions"]
        ]
        if not topics[0].market:
            assert any(
                same(payload, row) for payload in self.connector.greeting(topics)
            )
            return
        (request,) = self.connector.subscribe(topics, first_id=1, time=time)
        assert same(request.payload, row)
        assert request.topics == tuple(topics)
        assert self.connector.expected_responses(topics) == expect["expected_responses"]
        if "url" in expect:
            base = self.connector.websocket_url
            assert self.connector.endpoint(topics[0], base) == expect["url"]

    def topic(self, want):
        """Find the subscription that the venue names so."""
        if not want["market"]:
            return Topic(want["channel"], "")
        instrument = self.connector.instrument(want["market"])
        for kind in SubKind:
            depth = 10 if kind is SubKind.ORDER_BOOKS_L2 else None
            for deep in {None, depth}:
                subscription = Subscription(self.exchange, instrument, kind, depth=deep)
                try:
                    topic = self.connector.topic(subscription)
                except DataError:
                    continue
                if topic.id == want["subscription_id"]:
                    return topic
        pytest.fail(f"no subscription is named {want['subscription_id']}")

    def book_topic(self, market):
        if market is None:
            market = "tBTCUSD" if self.exchange == "bitfinex" else "BTC-PERPETUAL"
        instrument = self.instrument(market)
        subscription = Subscription(self.exchange, instrument, SubKind.ORDER_BOOKS_L2)
        return self.connector.topic(subscription)

    # Recorded sessions

    def manager(self, symbol):
        instrument = self.connector.instrument(symbol)
        subscription = Subscription(self.exchange, instrument, SubKind.ORDER_BOOKS_L2)
        topic = self.connector.topic(subscription)
        return topic, BookManager(
            self.exchange,
            instrument,
            rule=self.connector.rule,
            checksum=self.connector.checksum(),
        )

    def play(self, session, messages=None, depth=None):
        """Play a recorded session; return (outcome per message, reports, manager)."""
        topic, manager = self.manager(session["symbol"])
        manager.book.max_depth = depth
        transformer = self.connector.transformer()
        transformer.add(topic, manager.instrument)
        outcomes, reports = [], []
        for message in session["messages"] if messages is None else messages:
            raw = json.dumps(message["raw"]).encode()
            if message["transport"] == "http":
                reports += manager.handle(self.image_event(manager, message, raw))
            else:
                for output in transformer.feed(raw, NOW):
                    assert isinstance(output, MarketEvent), output
                    reports += manager.handle(output)
            outcomes.append(manager.last_outcome)
        return outcomes, reports, manager

    def image_event(self, manager, message, raw):
        topic = self.connector.topic(
            Subscription(self.exchange, manager.instrument, SubKind.ORDER_BOOKS_L2)
        )
        kind = self.connector.image_request(topic, None).response_type
        image = self.connector.image(msgspec.json.decode(raw, type=kind))
        return MarketEvent(NOW, NOW, self.exchange, manager.instrument, image.book)


def same(payload, row, injected=()):
    """Compare what we send with the row, ids that we choose ourselves excepted."""
    text = payload.decode()
    if row["raw"] is None:
        return text == row["raw_text"]
    ours, want = json.loads(text), dict(row["raw"])
    for key in injected:
        ours.pop(key, None)
        want.pop(key, None)
    return ours == want


def compare(event, want):
    kind = event.kind
    {
        "trade": compare_trade,
        "book_l1": compare_l1,
        "book_snapshot": compare_book,
        "book_update": compare_book,
        "liquidation": compare_liquidation,
        "candle": compare_candle,
        "funding_rate": compare_funding,
    }[want["kind"]](kind, want)
    if "time_exchange_ns" in want:
        expected = want["time_exchange_ns"]
        assert event.time_exchange == (NOW if expected is None else expected)
    if "time_published_ns" in want:
        assert event.time_published == want["time_published_ns"]
    if "amount_unit" in want:
        assert kind.amount_unit == want["amount_unit"]


def compare_trade(kind, want):
    assert type(kind) is PublicTrade
    assert kind.id == want["id"]
    assert (str(kind.price), str(kind.amount)) == (want["price"], want["amount"])
    assert kind.side == want["side"]
    if "aggregated_count" in want:
        assert kind.count == want["aggregated_count"]
    if "sequence" in want:
        assert kind.sequence == want["sequence"]


def compare_l1(kind, want):
    assert type(kind) is OrderBookL1
    for level, expected in ((kind.best_bid, want["bid"]), (kind.best_ask, want["ask"])):
        got = None if level is None else [str(level.price), str(level.amount)]
        assert got == expected
    if "sequence" in want:
        assert kind.sequence == want["sequence"]


def compare_book(kind, want):
    snapshot = want["kind"] == "book_snapshot"
    assert type(kind) is (OrderBookSnapshot if snapshot else OrderBookUpdate)
    for raw, expected in ((kind.bids, want["bids"]), (kind.asks, want["asks"])):
        got = [(Decimal(price), Decimal(amount)) for price, amount in raw]
        expected = [(Decimal(price), Decimal(amount)) for price, amount in expected]
        # An image has no order on the wire; the book sorts it.
        assert (sorted(got) if snapshot else got) == (
            sorted(expected) if snapshot else expected
        )
    for ours, theirs in (
        ("sequence", "sequence"),
        ("first_sequence", "first_sequence"),
        ("time_engine", "time_engine_ns"),
        ("checksum", "checksum"),
    ):
        if theirs in want:
            assert getattr(kind, ours) == want[theirs], ours
    if "prev_sequence" in want and not snapshot:
        assert kind.prev_sequence == want["prev_sequence"]


def compare_liquidation(kind, want):
    assert type(kind) is Liquidation
    assert kind.side == want["side"]
    assert (kind.price, kind.quantity) == (
        Decimal(want["price"]),
        Decimal(want["amount"]),
    )
    assert kind.time == (want["time_exchange_ns"] or NOW)
    if "id" in want:
        assert kind.id == want["id"]


def compare_candle(kind, want):
    assert type(kind) is Candle
    for field in ("open", "high", "low", "close", "volume"):
        assert getattr(kind, field) == Decimal(want[field]), field
    assert kind.interval == want["interval"]
    assert (kind.open_time, kind.close_time) == (
        want["open_time_ns"],
        want["close_time_ns"],
    )
    assert (kind.closed, kind.trade_count) == (want["closed"], want["trade_count"])


def compare_funding(kind, want):
    assert type(kind) is FundingRate
    for field in ("rate", "mark_price", "index_price"):
        if field in want:
            assert getattr(kind, field) == Decimal(want[field]), field
    assert kind.next_funding_time == want["next_funding_time_ns"]


@pytest.fixture
def venue(request):
    module = request.module
    if not (DATA / f"{module.VECTORS}.json").exists():
        pytest.skip(f"{DATA / module.VECTORS}.json absent")
    return Venue(
        ExchangeId(module.EXCHANGE), module.VECTORS, getattr(module, "STATEFUL", ())
    )


@pytest.fixture
def make_venue():
    return lambda exchange: Venue(exchange, exchange.value, ())


def _transformer(exchange, *topics, instrument=BTC, kind=None):
    """Make a transformer that expects topics."""
    made = connector_for(ExchangeId(exchange)).transformer()
    for channel, market in topics:
        made.add(Topic(channel, market), instrument, kind=kind)
    return made


def _topic_of(exchange, instrument, kind, interval=None):
    """Find the topic of a subscription."""
    connector = connector_for(ExchangeId(exchange))
    return connector.topic(Subscription(exchange, instrument, kind, interval))


def _listener(exchange, *wanted):
    """Make a transformer that expects some kinds of some instruments."""
    made = connector_for(ExchangeId(exchange)).transformer()
    for instrument, kind, *interval in wanted:
        topic = _topic_of(exchange, instrument, kind, *interval)
        if hasattr(made, "bind"):
            made.bind(7, topic)
        made.add(topic, instrument, kind=kind)
    return made


def _fed(made, message):
    """Feed one message, given as text or as what it says; return what came of it."""
    text = message if isinstance(message, str) else json.dumps(message)
    return list(made.feed(text.encode(), RECEIVED))


# The functions themselves: nothing to reset.


@pytest.fixture(scope="session")
def transformer():
    return _transformer


@pytest.fixture(scope="session")
def topic_of():
    return _topic_of


@pytest.fixture(scope="session")
def listener():
    return _listener


@pytest.fixture(scope="session")
def fed():
    return _fed


@pytest.fixture
def session(replay):
    if not replay.exists():
        pytest.skip(f"{replay} absent")
    # Decimal keeps the digits that float would lose when the message is encoded anew.
    return json.loads(replay.read_bytes(), parse_float=Number)


class Number(float):
    """A number that is encoded as it was spelled."""

    def __new__(cls, text):
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self):
        return self.text


@pytest.fixture
def check_row(venue):
    def check(row):
        if row is None:
            pytest.skip("wire vectors absent")
        check = venue.check_in if row["direction"] == "in" else venue.check_out
        check(row)

    return check


@pytest.fixture
def check_replay(venue):
    def check(session, *, depth=None):
        outcomes, _, manager = venue.play(session, depth=depth)
        assert outcomes == [message["expect"] for message in session["messages"]]
        final, book = session["final"], manager.book
        assert book.state == "live"
        assert book.sequence == final["sequence"]
        top = [as_numbers(book.raw_bids(10)), as_numbers(book.raw_asks(10))]
        assert top == [as_numbers(final["bids_top"]), as_numbers(final["asks_top"])]
        assert (book.bid_count, book.ask_count) == (
            final["bid_levels"],
            final["ask_levels"],
        )
        assert book.crossed is final["crossed"]

    return check


def as_numbers(raw):
    return [(Decimal(price), Decimal(amount)) for price, amount in raw]
