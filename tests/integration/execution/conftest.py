"""Orders in few words, and venues that live clients trade with."""

import random
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial

import pytest

from integration.execution import (
    AssetFees,
    ClientOrderId,
    Liquidity,
    Order,
    OrderId,
    OrderKey,
    OrderKind,
    OrderRequestOpen,
    OrderState,
    TimeInForce,
    Trade,
    TradeId,
)
from integration.execution.binance import BinanceConfig, UserStream, binance_client
from integration.execution.bybit import BybitConfig, bybit_client
from integration.execution.matching import Fees, MatchingEngine
from integration.models import (
    ExchangeId,
    Instrument,
    InstrumentNameExchange,
    InstrumentSpec,
    MarketDataInstrument,
    NotionalSpec,
    OrderBookSnapshot,
    PriceSpec,
    PublicTrade,
    QuantitySpec,
    QuantityUnit,
    Side,
    SpotContract,
    Underlying,
    asset_name_internal,
    instrument_name_internal,
)
from integration.rest.retry import RetryPolicy
from integration.signing import Credentials
from integration.stream.reconnect import Backoff, Jitter, ReconnectPolicy
from integration.testing.private import PrivateVenue

BINANCE = ExchangeId.BINANCE_SPOT


class Kit:
    """Makes orders and fills of one spot instrument in few words."""

    exchange = BINANCE
    symbol = "BTCUSDT"
    name = instrument_name_internal(BINANCE, "BTCUSDT")

    @staticmethod
    def spot(
        symbol="BTCUSDT",
        base="btc",
        quote="usdt",
        *,
        exchange=BINANCE,
        tick="0.01",
        lot="0.00001",
        notional="5",
    ):
        step = Decimal(lot)
        return Instrument(
            exchange=exchange,
            name_internal=instrument_name_internal(exchange, symbol),
            name_exchange=InstrumentNameExchange(symbol),
            underlying=Underlying(
                base=asset_name_internal(base), quote=asset_name_internal(quote)
            ),
            kind=SpotContract(),
            spec=InstrumentSpec(
                price=PriceSpec(
                    min=Decimal(tick), tick_size=Decimal(tick), max=Decimal(1_000_000)
                ),
                quantity=QuantitySpec(
                    unit=QuantityUnit.ASSET,
                    min=step,
                    increment=step,
                    asset=asset_name_internal(base),
                    max=Decimal(9000),
                ),
                notional=NotionalSpec(min=Decimal(notional)),
            ),
        )

    @staticmethod
    def key(cid="a", *, exchange=BINANCE, symbol="BTCUSDT", strategy="unknown"):
        name = instrument_name_internal(exchange, symbol)
        return OrderKey(exchange, name, ClientOrderId(cid), strategy)

    @classmethod
    def limit(
        cls,
        cid="a",
        side="buy",
        quantity="1",
        price="100",
        tif=TimeInForce.GTC,
        **where,
    ):
        return OrderRequestOpen.limit(
            cls.key(cid, **where),
            Side(side),
            quantity=Decimal(quantity),
            price=Decimal(price),
            time_in_force=tif,
        )

    @classmethod
    def market(cls, cid="a", side="buy", quantity="1", tif=TimeInForce.IOC, **where):
        return OrderRequestOpen.market(
            cls.key(cid, **where),
            Side(side),
            quantity=Decimal(quantity),
            time_in_force=tif,
        )

    @classmethod
    def order(cls, cid="a", state=OrderState.OPEN, filled="0", time=1, **fields):
        return Order(
            key=cls.key(cid),
            side=Side.BUY,
            kind=OrderKind.LIMIT,
            time_in_force=TimeInForce.GTC,
            quantity=Decimal(1),
            price=Decimal(100),
            state=state,
            filled=Decimal(filled),
            id=OrderId("7"),
            time_exchange=time,
            **fields,
        )

    @classmethod
    def trade(cls, number=1, quantity="0.5", time=1, cid=None, order_id="7"):
        return Trade(
            id=TradeId(str(number)),
            order_id=OrderId(order_id),
            instrument=cls.name,
            side=Side.BUY,
            price=Decimal(100),
            quantity=Decimal(quantity),
            fees=AssetFees(asset_name_internal("btc"), Decimal("0.0005")),
            time_exchange=time,
            liquidity=Liquidity.MAKER,
            cid=cid,
        )


MARKET = MarketDataInstrument.spot("btc", "usdt")
BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")
KEYS = {"key-1": ("secret-1", "ann")}
QUICK = ReconnectPolicy(
    backoff=Backoff(0.001, maximum=0.01, jitter=Jitter.NONE), close_timeout=0.05
)
RETRY = RetryPolicy(initial=0.001, maximum=0.01, rng=random.Random(1))  # noqa: S311 - repeatable on purpose

DIALECTS = ["binance", "binance listen key", "bybit"]


class House:
    """A venue, and how to become its client."""

    def __init__(self, dialect, kit, **funds):
        self.dialect = dialect
        self.kit = kit
        bybit = dialect == "bybit"
        self.exchange = ExchangeId.BYBIT_SPOT if bybit else ExchangeId.BINANCE_SPOT
        self.instrument = kit.spot(exchange=self.exchange)
        amounts = {BTC: Decimal(10), USDT: Decimal(10_000)}
        self.other = kit.spot("ETHUSDT", "eth", exchange=self.exchange)
        self.engine = MatchingEngine(
            self.exchange,
            [self.instrument, self.other],
            {"ann": amounts},
            fees=Fees(),
            **funds,
        )
        name = "bybit" if bybit else "binance_spot"
        self.venue = PrivateVenue(self.engine, dialect=name, keys=KEYS)
        self._clients = []

    async def __aenter__(self):
        await self.venue.__aenter__()
        self.book()
        return self

    async def __aexit__(self, *error):
        for client in self._clients:
            await client.aclose()
        return await self.venue.__aexit__(*error)

    def book(self, bids=(("99", "2"),), asks=(("101", "2"), ("102", "5"))):
        self.venue.on_book(MARKET, OrderBookSnapshot(list(bids), list(asks)))

    def fall(self, price="90", amount="50"):
        trade = PublicTrade("1", Decimal(price), Decimal(amount), Side.SELL)
        self.venue.on_trade(MARKET, trade)

    def client(self, key="key-1", secret="secret-1", window=5000, **more):  # noqa: S107 - of a simulated venue
        credentials = Credentials(key=key, secret=secret)
        instruments = [self.instrument, self.other]
        shared = {
            "rest_url": self.venue.rest_url,
            "recv_window_ms": window,
            "policy": QUICK,
            "retry": RETRY,
            **more,
        }
        if self.dialect == "bybit":
            config = BybitConfig(stream_url=self.venue.stream_url, **shared)
            made = bybit_client(credentials, instruments, config=config)
        else:
            listen = self.dialect == "binance listen key"
            config = BinanceConfig(
                websocket_api_url=self.venue.stream_url,
                stream_url=self.venue.stream_base,
                user_stream=(
                    UserStream.LISTEN_KEY if listen else UserStream.WEBSOCKET_API
                ),
                **shared,
            )
            made = binance_client(credentials, instruments, config=config)
        self._clients.append(made)
        return made

    # Orders of this exchange

    def limit(self, cid="a", **terms):
        return self.kit.limit(cid, exchange=self.exchange, **terms)

    def market(self, cid="a", **terms):
        return self.kit.market(cid, exchange=self.exchange, **terms)

    def key(self, cid="a"):
        return self.kit.key(cid, exchange=self.exchange)

    @asynccontextmanager
    async def heard(self, client):
        """Open a client's stream; it has told its first, and the venue knows it."""
        async with client.account_stream() as stream:
            await anext(stream)
            await self.venue.wait_streams(1)
            yield stream

    def placed(self):
        """How often an order was asked for."""
        path = "/v5/order/create" if self.dialect == "bybit" else "/api/v3/order"
        return self.venue.requests[f"POST {path}"]


@pytest.fixture
def make_house(kit):
    """Make a venue of a dialect, to be entered."""
    return partial(House, kit=kit)


@pytest.fixture(params=DIALECTS)
async def house(request, make_house):
    async with make_house(request.param) as made:
        yield made


@pytest.fixture(scope="session")
def kit():
    return Kit
