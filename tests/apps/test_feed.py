"""The feed behind products, against the simulated exchange."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from flowtrade.commands.config import FeedConfig
from flowtrade.feed import FeedInstrument, MarketFeed, instrument_of
from integration.errors import DnsError
from integration.market.config import StreamConfig
from integration.market.reports import BookResynced, BookStale, StreamError
from integration.market.turns import LineLost
from integration.models import ExchangeId, MarketDataInstrument
from integration.testing import SimulatedExchange, SyntheticMarket
from integration.testing.faults import Disconnect, Gap

SECOND = 1_000_000_000
GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
BTC = FeedInstrument(
    ExchangeId.BINANCE_SPOT, MarketDataInstrument("btc", "usdt", "spot")
)


def config(exchange):
    return StreamConfig(
        websocket_url={ExchangeId.BINANCE_SPOT: exchange.websocket_url},
        rest_url={ExchangeId.BINANCE_SPOT: exchange.rest_url},
    )


async def test_a_lost_message_withdraws_the_mid_until_the_book_is_true_again():
    mids, events = [], []
    async with (
        SimulatedExchange(SyntheticMarket(3, ("BTCUSDT",))) as exchange,
        trio.open_nursery() as nursery,
    ):
        feed = MarketFeed(
            {"BTC": BTC},
            config=config(exchange),
            on_mid=lambda product, mid, time: mids.append((product, mid)),
            on_event=events.append,
        )
        await nursery.start(feed.run)
        await exchange.advance(exchange.time_ns + SECOND)
        with trio.fail_after(GUARD_SECONDS):
            await feed.reached("BTC", exchange.sequence("BTCUSDT"))
        before = feed.mid("BTC")
        mids.clear()

        await exchange.inject(Gap(symbol="BTCUSDT"))
        await exchange.advance(exchange.time_ns + SECOND)
        with trio.fail_after(GUARD_SECONDS):
            await feed.reached("BTC", exchange.sequence("BTCUSDT"))
        nursery.cancel_scope.cancel()

    told = [mid for _, mid in mids]
    assert before is not None
    assert None in told
    assert told[-1] is not None
    assert {type(e) for e in events} >= {BookStale, BookResynced}


def test_a_line_too_many_is_refused_where_it_is_configured():
    with pytest.raises(ValueError, match="lines is 1"):
        FeedConfig(line_url={"binance_spot": ("wss://other",)})


async def test_a_lost_line_withdraws_nothing_and_is_logged(caplog):
    mids, lost = [], trio.Event()

    def note(event):
        if isinstance(event, StreamError) and isinstance(event.error, LineLost):
            lost.set()

    async with (
        SimulatedExchange(SyntheticMarket(3, ("BTCUSDT",))) as one,
        SimulatedExchange(SyntheticMarket(3, ("BTCUSDT",))) as other,
        trio.open_nursery() as nursery,
    ):
        settings = FeedConfig(
            websocket_url={"binance_spot": one.websocket_url},
            rest_url={"binance_spot": one.rest_url},
            lines=2,
            line_url={"binance_spot": (other.websocket_url,)},
        )
        feed = MarketFeed(
            {"BTC": BTC},
            config=settings.streams(),
            on_mid=lambda product, mid, time: mids.append(mid),
            on_event=note,
        )
        await nursery.start(feed.run)
        with trio.fail_after(GUARD_SECONDS):
            for cut in (False, True):
                if cut:
                    await one.inject(Disconnect())
                    await lost.wait()
                for exchange in (one, other):
                    await exchange.advance(exchange.time_ns + SECOND)
                await feed.reached("BTC", one.sequence("BTCUSDT"))
        nursery.cancel_scope.cancel()

    assert mids
    assert None not in mids
    assert "binance_spot#0 was lost" in caplog.text


async def test_a_product_without_an_instrument_has_no_price():
    feed = MarketFeed({}, config=StreamConfig())

    assert feed.book("BTC") is None
    assert feed.mid("BTC") is None
    assert feed.trade("BTC") is None


@pytest.mark.parametrize("app_data", [None, "BTC", {"name": "BTC"}, []])
def test_app_data_without_an_exchange_names_no_instrument(app_data):
    assert instrument_of(app_data) is None


def test_app_data_names_an_instrument_in_any_case():
    data = {"name": "x", "exchange": "binance_spot", "base": "BTC", "quote": "USDT"}

    assert instrument_of(data) == BTC


@pytest.mark.parametrize(
    "app_data",
    [
        {"exchange": "binance_spot"},
        {"exchange": "no_such_venue", "base": "btc", "quote": "usdt"},
        {"exchange": "binance_spot", "base": 1, "quote": "usdt"},
    ],
)
def test_half_an_instrument_is_refused(app_data):
    with pytest.raises(ValueError, match="app_data"):
        instrument_of(app_data)


ETH = FeedInstrument(
    ExchangeId.BINANCE_SPOT, MarketDataInstrument("eth", "usdt", "spot")
)


async def arrived(exchange, feed, product):
    """Move the market, second by second, until a product is followed."""
    with trio.fail_after(GUARD_SECONDS):
        while True:
            await exchange.advance(exchange.time_ns + SECOND)
            with trio.move_on_after(0.1):
                await feed.reached(product, 0)
                return


@pytest.mark.parametrize("given", [{}, {"BTC": BTC}], ids=["none", "one"])
async def test_a_product_that_is_added_later_is_followed(given):
    async with (
        SimulatedExchange(SyntheticMarket(3, ("BTCUSDT", "ETHUSDT"))) as exchange,
        trio.open_nursery() as nursery,
    ):
        mids = {}
        feed = MarketFeed(
            given,
            config=config(exchange),
            on_mid=lambda product, mid, _time: mids.update({product: mid}),
        )
        await nursery.start(feed.run)
        feed.follow("ETH", ETH)
        feed.follow("ETH too", ETH)  # the same market behind another product
        feed.follow("ETH", ETH)  # known already
        await arrived(exchange, feed, "ETH too")
        both = (feed.mid("ETH"), feed.mid("ETH too"))
        nursery.cancel_scope.cancel()

    assert both[0] == both[1] is not None
    assert mids["ETH"] is not None


async def test_a_product_that_no_venue_offers_has_no_price_and_harms_nobody(caplog):
    nothing = FeedInstrument(
        ExchangeId.BINANCE_SPOT,
        MarketDataInstrument("nope", "usdt", "spot"),
    )
    async with (
        SimulatedExchange(SyntheticMarket(3, ("BTCUSDT",))) as exchange,
        trio.open_nursery() as nursery,
    ):
        feed = MarketFeed({}, config=config(exchange))
        await nursery.start(feed.run)
        feed.follow("nothing", nothing)
        feed.follow("BTC", BTC)
        await arrived(exchange, feed, "BTC")
        mid = feed.mid("BTC")
        nursery.cancel_scope.cancel()

    assert mid is not None
    assert feed.mid("nothing") is None


async def test_a_venue_out_of_reach_is_asked_again(autojump_clock, monkeypatch, caplog):
    tries = []

    class Streams:
        def __init__(self):
            self.books = {}

        async def next_batch(self):
            await trio.sleep_forever()

    @asynccontextmanager
    async def open_streams(wanted, *, config):
        tries.append((trio.current_time(), wanted[0].instrument))
        if len(tries) < 3:
            raise DnsError("no such host")
        yield Streams()

    monkeypatch.setattr("flowtrade.feed.open_market_streams", open_streams)
    async with trio.open_nursery() as nursery:
        feed = MarketFeed({}, config=StreamConfig())
        feed.follow("BTC", BTC)
        start = trio.current_time()
        await nursery.start(feed.run)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()

    assert [at - start for at, _ in tries] == [0, 30, 60]
    assert {instrument for _, instrument in tries} == {BTC.instrument}
    assert "asked again in 30 s" in caplog.text
