from decimal import Decimal

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
from integration.models import (
    ExchangeId,
    Instrument,
    InstrumentNameExchange,
    InstrumentSpec,
    NotionalSpec,
    PriceSpec,
    QuantitySpec,
    QuantityUnit,
    Side,
    SpotContract,
    Underlying,
    asset_name_internal,
    instrument_name_internal,
)

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


@pytest.fixture(scope="session")
def kit():
    return Kit
