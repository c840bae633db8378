"""What the published rows of BitMEX leave out: tables, lost levels, empty books."""

from decimal import Decimal

from integration.errors import Deserialise, Unidentifiable
from integration.market.connector import Topic
from integration.market.notices import Ignored, LevelLost
from integration.models import MarketDataInstrument, OrderBookUpdate


def rows(action, *rows, table="orderBookL2_25", **more):
    return {"table": table, "action": action, "data": list(rows), **more}


def level(number, symbol="XBTUSD", side="Buy", **fields):
    return {"symbol": symbol, "id": number, "side": side, **fields}


def test_rows_of_several_symbols_of_bitmex_are_routed_one_by_one(transformer, fed):
    made = transformer("bitmex", ("orderBookL2_25", "XBTUSD"))
    made.add(Topic("orderBookL2_25", "ETHUSD"), MarketDataInstrument.spot("eth", "usd"))

    first, second = fed(
        made,
        rows(
            "partial",
            level(1, price=1, size=1),
            level(1, symbol="ETHUSD", side="Sell", price=2, size=1),
        ),
    )

    assert [first.instrument.base, second.instrument.base] == ["btc", "eth"]
    assert list(first.kind.bids) == [("1", "1")]
    assert list(second.kind.asks) == [("2", "1")]


def test_a_change_of_an_unknown_level_of_bitmex_is_a_loss_until_the_next_image(
    fed, transformer
):
    made = transformer("bitmex", ("orderBookL2_25", "XBTUSD"))
    (early,) = fed(made, rows("update", level(1, size=1)))
    fed(made, rows("partial", level(1, price=1, size=1)))

    (lost,) = fed(made, rows("update", level(9, size=1)))
    (after,) = fed(made, rows("update", level(1, size=2)))
    (image,) = fed(made, rows("partial", level(1, price=1, size=3)))
    (update,) = fed(made, rows("update", level(1, size=4)))

    assert isinstance(early, Ignored)
    assert isinstance(lost, LevelLost)
    assert isinstance(after, Ignored)
    assert list(image.kind.bids) == [("1", "3")]
    assert isinstance(update.kind, OrderBookUpdate)


def test_an_image_of_an_empty_book_of_bitmex_is_an_image(transformer, fed):
    made = transformer("bitmex", ("orderBookL2_25", "XBTUSD"))

    (image,) = fed(made, rows("partial", filter={"symbol": "XBTUSD"}))

    assert (list(image.kind.bids), list(image.kind.asks)) == ([], [])


def test_a_level_of_bitmex_without_a_size_makes_no_sense(transformer, fed):
    made = transformer("bitmex", ("orderBookL2_25", "XBTUSD"))
    fed(made, rows("partial", level(1, price=1, size=1)))

    assert isinstance(fed(made, rows("update", level(1)))[0], Deserialise)


def test_losses_of_subscriptions_nobody_made_are_nobodys(transformer, fed):
    made = transformer("bitmex", ("orderBookL2_25", "XBTUSD"))
    fed(made, rows("partial", level(1, price=1, size=1)))
    made.remove(Topic("orderBookL2_25", "XBTUSD"))

    assert isinstance(fed(made, rows("delete", level(9)))[0], Unidentifiable)


def test_fundings_and_liquidations_of_bitmex(transformer, fed):
    made = transformer("bitmex", ("funding", "XBTUSD"), ("liquidation", "XBTUSD"))
    funding = {"timestamp": "2024-11-22T20:00:00.000Z", "symbol": "XBTUSD"}

    (rate,) = fed(
        made, rows("insert", funding | {"fundingRate": -0.0001}, table="funding")
    )
    order = {"orderID": "x", "symbol": "XBTUSD"}
    (bare,) = fed(made, rows("insert", order, table="liquidation"))
    (later,) = fed(made, rows("update", order, table="liquidation"))

    assert rate.kind.rate == Decimal("-0.0001")
    assert isinstance(bare, Ignored)
    assert isinstance(later, Ignored)


def test_answers_of_bitmex_without_consequences_are_ignored(transformer, fed):
    (output,) = fed(transformer("bitmex"), {"success": True, "unsubscribe": "x:y"})

    assert isinstance(output, Ignored)
