"""Trade on a mock exchange that matches against a live feed, all inside this program.

The market is the simulated one, streamed over loopback as a venue would; the mock
exchange matches our orders against the books and trades that arrive. A strategy quotes
at the best bid and sells what it got. At the end every asset adds up to nothing: what
one has, another has not.
"""

from contextlib import suppress
from decimal import Decimal

import trio

from integration.execution import (
    ClientOrderId,
    ExecutionClient,
    OrderKey,
    OrderRequestCancel,
    OrderRequestOpen,
    OrderState,
    PostOnlyWouldCross,
    TimeInForce,
    round_price,
)
from integration.execution.matching import Fees, Queue
from integration.execution.mock import LatencyModel, MockExchange
from integration.instruments import load_instruments
from integration.market.config import StreamConfig
from integration.market.streams import MarketStreams, open_market_streams
from integration.models import (
    ExchangeId,
    Instrument,
    MarketDataInstrument,
    Side,
    SubKind,
    Subscription,
    asset_name_internal,
)
from integration.testing import SimulatedExchange, SyntheticMarket

EXCHANGE = ExchangeId.BINANCE_SPOT
MARKET = MarketDataInstrument.spot("btc", "usdt")
BTC, USDT = asset_name_internal("btc"), asset_name_internal("usdt")
SUBSCRIPTIONS = [
    Subscription(EXCHANGE, MARKET, SubKind.PUBLIC_TRADES),
    Subscription(EXCHANGE, MARKET, SubKind.ORDER_BOOKS_L2),
]
STEP_NS = 100_000_000
SIZE = Decimal("0.002")


class Quoter:
    """Bids at the best price, and sells at the market what was bought."""

    def __init__(self, client: ExecutionClient, instrument: Instrument) -> None:
        self._client = client
        self._instrument = instrument
        self._numbers = iter(range(1_000_000))
        self._quote: OrderKey | None = None

    def _key(self) -> OrderKey:
        name = ClientOrderId(f"quoter{next(self._numbers)}")
        return OrderKey(EXCHANGE, self._instrument.name_internal, name)

    async def turn(self, streams: MarketStreams) -> None:
        """Replace the quote, and sell what the last one bought."""
        best = streams.books[EXCHANGE, MARKET].best_bid
        if best is None:
            return
        if self._quote is not None:
            await self._sell_what_was_bought(self._quote)
        request = OrderRequestOpen.limit(
            self._key(),
            Side.BUY,
            quantity=SIZE,
            price=round_price(best.price, self._instrument, Side.BUY),
            time_in_force=TimeInForce.POST_ONLY,
        )
        self._quote = None
        # If the market has come down to us meanwhile: next time.
        with suppress(PostOnlyWouldCross):
            self._quote = (await self._client.open_order(request)).key

    async def _sell_what_was_bought(self, key: OrderKey) -> None:
        resting = {o.key.cid: o for o in await self._client.fetch_open_orders()}
        filled = SIZE
        if key.cid in resting:
            order = await self._client.cancel_order(OrderRequestCancel(key))
            assert order.state is OrderState.CANCELLED
            filled = order.filled
        if filled:
            sale = OrderRequestOpen.market(self._key(), Side.SELL, quantity=filled)
            await self._client.open_order(sale)


async def main(steps: int = 60, seed: int = 7) -> dict[str, Decimal]:
    """Trade for some steps of market time; return the sum of each asset."""
    async with SimulatedExchange(SyntheticMarket(seed)) as sim:
        loaded = await load_instruments(EXCHANGE, rest_url=sim.rest_url)
        (instrument,) = [i for i in loaded.instruments if i.market_data() == MARKET]
        mock = MockExchange(
            EXCHANGE,
            [instrument],
            {"me": {BTC: Decimal(1), USDT: Decimal(100_000)}},
            fees=Fees(maker=Decimal("0.0002"), taker=Decimal("0.0005")),
            queue=Queue.FRONT,
            latency=LatencyModel(),
        )
        client = mock.client("me")
        quoter = Quoter(client, instrument)
        config = StreamConfig(
            websocket_url={EXCHANGE: sim.websocket_url},
            rest_url={EXCHANGE: sim.rest_url},
            silence=None,
        )
        async with open_market_streams(SUBSCRIPTIONS, config=config) as streams:
            for _ in range(steps):
                await sim.advance(sim.time_ns + STEP_NS)
                await follow(streams, mock, sim)
                await quoter.turn(streams)

    fills = await client.fetch_trades(0)
    balances = await client.fetch_balances()
    print(f"{len(fills)} fills; {', '.join(sorted({str(f.liquidity) for f in fills}))}")
    for balance in balances:
        print(f"{balance.asset}: {balance.balance.total:f}")
    return {asset: mock.engine.accounts.sum(asset) for asset in (BTC, USDT)}


async def follow(
    streams: MarketStreams, mock: MockExchange, sim: SimulatedExchange
) -> None:
    """Give the mock what the market says, until it is where the simulator is."""
    while True:
        book = streams.books[EXCHANGE, MARKET]
        if book.state == "live" and book.sequence == sim.sequence("BTCUSDT"):
            with trio.move_on_after(0.001):  # what came with the last message
                for event in await streams.next_batch():
                    mock.on_market(event)
            return
        for event in await streams.next_batch():
            mock.on_market(event)


if __name__ == "__main__":
    trio.run(main)
