"""What the published rows leave out: settings, fundings, losses, odd answers."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from integration.errors import (
    DataError,
    Deserialise,
    Exchange,
    IntegrationError,
    InvalidLevel,
    RateLimited,
    SequenceGap,
    Unidentifiable,
)
from integration.exchanges import shared
from integration.exchanges.registry import connector_for
from integration.market.connector import Topic
from integration.market.manager import BookManager
from integration.market.notices import (
    Ack,
    ConnectionGap,
    Heartbeat,
    Ignored,
    Info,
    Pong,
    Refusal,
    TopicLost,
)
from integration.models import (
    AmountUnit,
    ExchangeId,
    MarketDataInstrument,
    OptionKind,
    Side,
    SubKind,
    TradeFlag,
)

NOW = 1_700_000_000_000_000_000
BTC = MarketDataInstrument.perpetual("btc", "usdt")
WIRE = Path(__file__).resolve().parents[3] / "../shared/data/wire"


# Bybit


def test_a_ticker_of_bybit_tells_funding_when_funding_changes(transformer, fed):
    kind, topic = SubKind.FUNDING_RATES, ("tickers", "BTCUSDT")
    made = transformer("bybit_perpetuals_usd", topic, kind=kind)

    def ticker(**fields):
        data = {"symbol": "BTCUSDT", **fields}
        return {"topic": "tickers.BTCUSDT", "type": "x", "ts": 5, "data": data}

    (first,) = fed(
        made,
        ticker(fundingRate="-0.0001", nextFundingTime="1000", markPrice="7"),
    )
    (other,) = fed(made, ticker(indexPrice="8"))
    (second,) = fed(made, ticker(fundingRate="0.0002"))

    assert (first.kind.rate, first.kind.mark_price) == (Decimal("-0.0001"), 7)
    assert first.kind.next_funding_time == 1_000_000_000
    assert isinstance(other, Ignored)
    assert (second.kind.rate, second.kind.index_price) == (Decimal("0.0002"), 8)
    assert second.kind.next_funding_time == 1_000_000_000


def test_a_ticker_of_bybit_without_funding_is_ignored(transformer, fed):
    made = transformer("bybit_perpetuals_usd", ("tickers", "BTCUSDT"))
    data = {"symbol": "BTCUSDT", "fundingRate": ""}

    (output,) = fed(made, {"topic": "tickers.BTCUSDT", "ts": 1, "data": data})

    assert isinstance(output, Ignored)


def test_a_hole_in_the_best_levels_of_bybit_is_a_lost_topic(transformer, fed):
    made = transformer("bybit_spot", ("orderbook.1", "BTCUSDT"))

    def top(kind, u):
        data = {"s": "BTCUSDT", "b": [["1", "1"]], "a": [], "u": u}
        return {"topic": "orderbook.1.BTCUSDT", "type": kind, "ts": 1, "data": data}

    (early,) = fed(made, top("delta", 1))
    fed(made, top("snapshot", 5))
    (lost,) = fed(made, top("delta", 7))
    (late,) = fed(made, top("delta", 8))

    assert isinstance(early, Ignored)
    assert isinstance(lost, TopicLost)
    assert (lost.topic, lost.error.expected, lost.error.actual) == (
        "orderbook.1|BTCUSDT",
        6,
        7,
    )
    assert isinstance(late, Ignored)


def test_answers_of_bybit_to_other_requests_are_ignored(transformer, fed):
    made = transformer("bybit_spot")

    assert fed(made, {"op": "unsubscribe", "success": True, "ret_msg": ""}) == [
        Ignored("the answer to unsubscribe")
    ]


def test_a_block_trade_of_bybit_is_flagged(transformer, fed):
    made = transformer("bybit_spot", ("publicTrade", "BTCUSDT"))
    row = {"T": 1, "s": "BTCUSDT", "S": "Buy", "v": "1", "p": "1", "i": "x", "BT": True}

    (event,) = fed(made, {"topic": "publicTrade.BTCUSDT", "ts": 1, "data": [row]})

    assert event.kind.flags == TradeFlag.BLOCK


# OKX


def test_liquidations_of_okx_reach_only_those_who_asked_for_the_instrument(
    fed, transformer
):
    made = transformer("okx", ("liquidation-orders", "SWAP"))
    detail = {"bkPx": "1", "side": "sell", "sz": "2", "ts": "1"}
    rows = [
        {"instId": "BTC-USDT-SWAP", "details": [detail]},
        {"instId": "ETH-USDT-SWAP", "details": [detail]},
    ]
    message = {"arg": {"channel": "liquidation-orders"}, "data": rows}

    event, other = fed(made, message)
    made.forget(Topic("liquidation-orders", "SWAP"), BTC)
    made.forget(Topic("trades", "BTC-USDT"), BTC)
    after = fed(made, message)

    assert (event.instrument, event.kind.side) == (BTC, Side.SELL)
    assert isinstance(other, Ignored)
    assert [type(x) for x in after] == [Ignored, Ignored]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"event": "unsubscribe", "arg": {"channel": "trades"}}, Ignored),
        ({"event": "notice", "code": "1", "msg": "x"}, Info),
        ({"event": "login", "code": "0"}, Info),
        ({"event": "error", "code": "60012", "msg": "bad"}, Refusal),
    ],
)
def test_events_of_okx(message, expected, fed, transformer):
    (output,) = fed(transformer("okx"), message)

    assert isinstance(output, expected)


def test_a_side_of_okx_may_be_empty(transformer, fed):
    made = transformer("okx", ("bbo-tbt", "BTC-USDT-SWAP"))
    arg = {"channel": "bbo-tbt", "instId": "BTC-USDT-SWAP"}

    (event,) = fed(
        made, {"arg": arg, "data": [{"asks": [], "bids": [], "ts": "1", "seqId": 1}]}
    )

    assert event.kind.best_bid is event.kind.best_ask is None
    assert event.kind.amount_unit == AmountUnit.CONTRACT


# Kraken


def test_precision_of_kraken_v2_makes_its_checksums_verifiable(transformer, fed):
    path = WIRE / "checksums.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    (case,) = [c for c in json.loads(path.read_bytes()) if c["exchange"] == "kraken_v2"]

    def levels(side):
        # As the wire has them: JSON numbers without trailing zeros.
        return ",".join(
            f'{{"price":{Decimal(p).normalize():f},"qty":{Decimal(q).normalize():f}}}'
            for p, q in case[side]
        )

    image = (
        '{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD",'
        f'"bids":[{levels("bids")}],"asks":[{levels("asks")}],'
        f'"checksum":{case["checksum"]}}}]}}'
    )
    pair = {"symbol": "BTC/USD", "price_precision": 1, "qty_precision": 8}
    reference = {"channel": "instrument", "type": "snapshot", "data": {"pairs": [pair]}}
    connector = connector_for(ExchangeId.KRAKEN_V2)

    def played(*messages):
        made = transformer("kraken_v2", ("book", "BTC/USD"))
        manager = BookManager(
            connector.exchange, BTC, rule=connector.rule, checksum=connector.checksum()
        )
        for message in messages:
            for output in fed(made, message):
                if not isinstance(output, Ignored):
                    manager.handle(output)
        return manager

    assert played(reference, image).book.state == "live"
    # Without the precision nothing is compared; with it, a wrong sum is noticed.
    wrong = image.replace(str(case["checksum"]), "1")
    assert played(wrong).book.state == "live"
    assert played(reference, wrong).book.state != "live"


@pytest.mark.parametrize("field", ["price", "qty"])
@pytest.mark.parametrize("number", [-1, "NaN", "Infinity"])
def test_a_trade_of_kraken_v2_has_true_numbers(fed, transformer, field, number):
    made = transformer("kraken_v2", ("trade", "BTC/USD"))
    trade = {
        "symbol": "BTC/USD",
        "side": "buy",
        "price": 1,
        "qty": 2,
        "trade_id": 4,
        "ord_type": "market",
        "timestamp": "2023-09-25T07:49:36.925533Z",
    }

    (fault,) = fed(
        made, {"channel": "trade", "type": "update", "data": [{**trade, field: number}]}
    )

    assert isinstance(fault, IntegrationError)


def test_trades_of_kraken_v2_from_before_the_subscription_are_backfill(
    fed, transformer
):
    made = transformer("kraken_v2", ("trade", "BTC/USD"))
    row = {"symbol": "BTC/USD", "side": "buy", "price": 1, "qty": 1, "trade_id": 1}
    row["timestamp"] = "2023-10-06T17:35:55.440295Z"

    (event,) = fed(made, {"channel": "trade", "type": "snapshot", "data": [row]})

    assert event.kind.flags == TradeFlag.BACKFILL


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"method": "unsubscribe", "success": True}, Ignored),
        (
            {
                "method": "subscribe",
                "success": True,
                "result": {"channel": "instrument"},
            },
            Ignored,
        ),
    ],
)
def test_answers_of_kraken_v2_that_confirm_nothing(message, expected, fed, transformer):
    (output,) = fed(transformer("kraken_v2"), message)

    assert isinstance(output, expected)


def test_fields_in_another_order_are_data_of_kraken_v2_too(transformer, fed):
    (output,) = fed(transformer("kraken_v2"), {"data": [], "channel": "heartbeat"})

    assert isinstance(output, Heartbeat)


def test_events_of_kraken_that_say_nothing_are_ignored(transformer, fed):
    made = transformer("kraken", ("ticker", "XBT/USD"))
    status = {
        "event": "subscriptionStatus",
        "status": "unsubscribed",
        "pair": "XBT/USD",
    }

    outputs = [
        *fed(made, {"event": "gossip"}),
        *fed(made, status),
        *fed(made, [1, {"a": ["1"]}, "ticker", "XBT/USD"]),
    ]

    assert all(isinstance(output, Ignored) for output in outputs)
    assert len(outputs) == 3


def match(number):
    return {
        "type": "match",
        "trade_id": number,
        "sequence": number,
        "time": "2014-11-07T08:19:27.028459Z",
        "product_id": "BTC-USD",
        "size": "1",
        "price": "1",
        "side": "sell",
    }


# Coinbase


def test_a_hole_in_the_trade_ids_of_coinbase_is_a_loss(transformer, fed):
    made = transformer("coinbase", ("matches", "BTC-USD"))
    fed(made, match(10))
    fed(made, match(11))

    gap, event = fed(made, match(14))

    assert isinstance(gap, SequenceGap)
    assert (gap.expected, gap.actual) == (12, 14)
    assert event.kind.id == "14"


def test_a_heartbeat_of_coinbase_that_knows_a_later_trade_is_a_loss(transformer, fed):
    made = transformer("coinbase", ("matches", "BTC-USD"))
    beat = {"type": "heartbeat", "product_id": "BTC-USD", "sequence": 1}
    (before,) = fed(made, beat | {"last_trade_id": 5})
    fed(made, match(5))

    gap, after = fed(made, beat | {"last_trade_id": 7})
    (calm,) = fed(made, beat | {"last_trade_id": 7})

    assert isinstance(before, Heartbeat)
    assert (gap.expected, gap.actual) == (6, 8)
    assert (after, calm.instrument) == (calm, BTC)


def envelope(channel, sequence, events):
    return {
        "channel": channel,
        "timestamp": "2026-04-07T14:30:00Z",
        "sequence_num": sequence,
        "events": events,
    }


def test_a_hole_in_the_numbers_of_coinbase_advanced_concerns_the_connection(
    fed, transformer
):
    made = transformer("coinbase_advanced")
    fed(made, envelope("heartbeats", 0, []))

    gap, beat = fed(made, envelope("heartbeats", 2, []))

    assert gap == ConnectionGap(1, 2)
    assert isinstance(beat, Heartbeat)


def test_what_coinbase_advanced_sends_besides(transformer, fed):
    made = transformer("coinbase_advanced")

    (refusal,) = fed(made, {"type": "error", "message": "no"})
    (old,) = fed(
        made, envelope("market_trades", 0, [{"type": "snapshot", "trades": []}])
    )

    assert isinstance(refusal, Refusal)
    assert isinstance(old, Ignored)


# Gate.io


def test_liquidations_of_gateio_read_the_side_from_the_sign(transformer, fed):
    made = transformer(
        "gateio_perpetuals_usd", ("futures.public_liquidates", "BTC_USDT")
    )
    row = {
        "price": 215.1,
        "size": -124,
        "time_ms": 1541486601123,
        "contract": "BTC_USDT",
    }

    (event,) = fed(
        made,
        {"channel": "futures.public_liquidates", "event": "update", "result": [row]},
    )

    assert (event.kind.side, event.kind.quantity) == (Side.SELL, 124)
    assert event.kind.time == 1541486601123000000


@pytest.mark.parametrize("event", ["unsubscribe", "all"])
def test_other_messages_of_gateio_are_ignored(event, fed, transformer):
    (output,) = fed(
        transformer("gateio_spot"), {"channel": "spot.gossip", "event": event}
    )

    assert isinstance(output, Ignored)


def test_an_empty_side_of_gateio_is_an_empty_text(transformer, fed):
    made = transformer("gateio_spot", ("spot.book_ticker", "BTC_USDT"))
    top = {"t": 1, "u": 1, "s": "BTC_USDT", "b": "", "B": "", "a": "2", "A": "1"}

    (event,) = fed(
        made, {"channel": "spot.book_ticker", "event": "update", "result": top}
    )

    assert event.kind.best_bid is None
    assert event.kind.best_ask.price == 2


@pytest.mark.parametrize(
    ("label", "kind"), [("TOO_MANY_REQUESTS", RateLimited), ("INVALID_KEY", Exchange)]
)
def test_http_errors_of_gateio_go_by_their_label(label, kind):
    parser = connector_for(ExchangeId.GATEIO_SPOT).rest_parser()
    body = json.dumps({"label": label, "message": "x"}).encode()

    with pytest.raises(kind) as caught:
        parser.parse(400, {}, body, dict)

    assert caught.value.code == label


def test_image_requests_of_gateio_name_market_and_path():
    topic = Topic("x", "BTC_USDT")
    spot = connector_for(ExchangeId.GATEIO_SPOT).image_request(topic, None)
    swap = connector_for(ExchangeId.GATEIO_PERPETUALS_USD).image_request(topic, 5)

    assert spot.path() == "/api/v4/spot/order_book"
    assert spot.query_params()["currency_pair"] == "BTC_USDT"
    assert swap.path() == "/api/v4/futures/usdt/order_book"
    assert swap.query_params() == {
        "contract": "BTC_USDT",
        "limit": 100,
        "with_id": True,
    }


# Bitfinex


def test_numbered_messages_of_bitfinex_show_a_loss(transformer, fed):
    made = transformer("bitfinex", ("trades", "tBTCUSD"))
    made.bind(7, Topic("trades", "tBTCUSD"))

    (first,) = fed(made, [7, "hb", 1])
    gap, second = fed(made, [7, "hb", 3])
    (third,) = fed(made, [7, "hb", 4])

    assert isinstance(first, Heartbeat)
    assert gap == ConnectionGap(2, 3)
    assert isinstance(second, Heartbeat)
    assert isinstance(third, Heartbeat)


def test_a_channel_of_bitfinex_that_was_left_is_forgotten(transformer, fed):
    made = transformer("bitfinex", ("trades", "tBTCUSD"))
    made.bind(7, Topic("trades", "tBTCUSD"))

    assert isinstance(fed(made, {"event": "unsubscribed", "chanId": 7})[0], Ignored)
    assert isinstance(fed(made, [7, "hb"])[0], Unidentifiable)
    assert isinstance(fed(made, {"event": "conf", "status": "OK"})[0], Ignored)


def test_a_kind_of_bitfinex_that_is_not_known_is_ignored(transformer, fed):
    made = transformer("bitfinex", ("trades", "tBTCUSD"))
    made.bind(7, Topic("trades", "tBTCUSD"))

    assert isinstance(fed(made, [7, "fte", [1, 2, 3]])[0], Ignored)


# Bitstamp, Deribit, Hyperliquid


def test_what_bitstamp_says_besides(transformer, fed):
    made = transformer("bitstamp")

    (left,) = fed(made, {"event": "bts:unsubscription_succeeded", "channel": "a_b"})
    (refusal,) = fed(
        made,
        {
            "event": "bts:error",
            "channel": "live_trades_x",
            "data": {"code": 4009, "message": "no"},
        },
    )
    (vague,) = fed(made, {"event": "bts:error", "data": {"message": "no"}})

    assert isinstance(left, Ignored)
    assert (refusal.topics, refusal.error.code) == (("live_trades|x",), "4009")
    assert vague.topics == ()


def test_trades_of_deribit_show_losses_and_flags(transformer, fed):
    made = transformer("deribit", ("trades", "BTC-PERPETUAL"))

    def trades(*numbers):
        data = [
            {
                "timestamp": 1,
                "price": 1.5,
                "amount": 10,
                "direction": "buy",
                "trade_seq": n,
                "trade_id": str(n),
                "liquidation": "T",
                "block_trade_id": "x",
            }
            for n in numbers
        ]
        params = {"channel": "trades.BTC-PERPETUAL.100ms", "data": data}
        return {"method": "subscription", "params": params}

    (first,) = fed(made, trades(1))
    gap, second = fed(made, trades(4))

    assert first.kind.flags == TradeFlag.BLOCK | TradeFlag.LIQUIDATION
    assert (gap.expected, gap.actual) == (2, 4)
    assert second.kind.sequence == 4


def test_options_of_deribit_count_the_base(transformer, fed):
    option = MarketDataInstrument.option(
        "btc", "usd", kind=OptionKind.PUT, strike=Decimal(8000), expiry=NOW
    )
    made = transformer("deribit", ("quote", "X"), instrument=option)
    params = {"channel": "quote.X", "data": {"timestamp": 1}}

    (event,) = fed(made, {"method": "subscription", "params": params})

    assert event.kind.amount_unit == AmountUnit.BASE
    assert event.kind.best_bid is None


def test_what_deribit_says_besides(transformer, fed):
    made = transformer("deribit", ("gossip", "X"))

    (beat,) = fed(made, {"method": "heartbeat", "params": {"type": "heartbeat"}})
    (setting,) = fed(made, {"id": 2, "result": "ok"})
    (refusal,) = fed(made, {"id": 2, "error": {"code": 11050, "message": "bad"}})
    (other,) = fed(
        made,
        {"method": "subscription", "params": {"channel": "gossip.X.raw", "data": {}}},
    )

    assert isinstance(beat, Heartbeat)
    assert isinstance(setting, Ignored)
    assert (refusal.request_id, refusal.error.code) == ("2", "11050")
    assert isinstance(other, Ignored)


def test_what_hyperliquid_says_besides(transformer, fed):
    made = transformer("hyperliquid", ("bbo", "BTC"))
    levels = [{"px": "1", "sz": "2", "n": 1}, None]
    bbo = {"coin": "BTC", "time": 1, "bbo": levels}

    (top,) = fed(made, {"channel": "bbo", "data": bbo})
    (refusal,) = fed(made, {"channel": "error", "data": "Invalid subscription"})
    answer = {"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "BTC"}}
    (left,) = fed(made, {"channel": "subscriptionResponse", "data": answer})

    assert (top.kind.best_bid.amount, top.kind.best_ask) == (2, None)
    assert isinstance(refusal, Refusal)
    assert isinstance(left, Ignored)


# Shared helpers


def test_plain_text_heartbeats_are_pongs(transformer, fed):
    assert fed(transformer("okx"), "pong") == [Pong()]
    assert isinstance(fed(transformer("kraken"), "pong")[0], Deserialise)


def test_sides_and_levels_of_any_venue():
    with pytest.raises(ValueError, match="buy or sell"):
        shared.side_of("both")
    assert shared.level(None, Decimal(1)) is None
    assert shared.level(Decimal(0), Decimal(1)) is None
    with pytest.raises(InvalidLevel):
        shared.level(Decimal("NaN"), Decimal(1))
    assert shared.level_of("0.000", "1") is None


def test_only_what_expires_has_a_day():
    with pytest.raises(DataError, match="does not expire"):
        shared.day_of(BTC)


def test_a_tag_is_read_only_where_the_message_starts_as_expected():
    tag = shared.tag_after(b'{"a":"', b'"')

    assert tag(b'{"a":"x","b":1}') == "x"
    assert tag(b'{"a":"x') is None
    assert tag(b'{ "a":"x"}') is None


def test_confirmations_of_a_group_of_instruments_name_the_group(transformer, fed):
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}

    assert fed(transformer("okx"), {"event": "subscribe", "arg": arg}) == [
        Ack(topics=("liquidation-orders|SWAP",))
    ]
