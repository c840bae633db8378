"""The whole chain on loopback: exchange bytes in, certified auctions out."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from flowtrade.models.batch import BatchStatus
from flowtrade.models.time import parse_timestamp
from flowtrade.models.update import BatchUpdate
from flowtrade_demo.config import DemoConfig, DemoError, Pace
from flowtrade_demo.house import open_house
from flowtrade_demo.rounds import run_demo, run_lockstep
from integration.market.books import BookState
from integration.models import PublicTrade

GUARD_SECONDS = 300  # against hanging; nothing asserts a duration
DATA = Path(__file__).resolve().parents[2] / "../shared/data"
SESSION = DATA / "wire/replay/binance_spot_nknusdt.json"
RECORDING = DATA / "recordings/binance_spot_btcusdt_20240808.gz"


@pytest.fixture
def session():
    if not SESSION.exists():
        pytest.skip(f"recorded session {SESSION.name} is absent")
    return SESSION


@pytest.fixture
def recording():
    if not RECORDING.exists():
        pytest.skip(f"recording {RECORDING.name} is absent")
    return RECORDING


def lockstep(tmp_path, **changes):
    changes = {"store": f"sqlite:{tmp_path / 'auctions.db'}", "batches": 4} | changes
    return DemoConfig(port=0, pace=Pace.LOCKSTEP, **changes)


async def published(config):
    """Run to the end; return the batch updates that the public stream carried."""
    updates = []
    with trio.fail_after(GUARD_SECONDS):
        await run_demo(
            config, stop=trio.Event(), started=lambda _: None, listener=updates.append
        )
    return [update for update in updates if isinstance(update, BatchUpdate)]


def imbalance(batch):
    """The largest net trade of a product, relative to its gross trade."""
    net, gross = {}, {}
    for bid in batch.bids:
        for product, weight in bid.basis.items():
            net[product] = net.get(product, 0.0) + weight * bid.rate
            gross[product] = gross.get(product, 0.0) + abs(weight * bid.rate)
    return max(abs(net[p]) / max(gross[p], 1e-9) for p in net)


async def test_a_synthetic_market_is_cleared_batch_after_batch(tmp_path):
    batches = await published(lockstep(tmp_path))

    assert [batch.seq for batch in batches] == [1, 2, 3, 4]
    assert [b.as_of for b in batches] == sorted(b.as_of for b in batches)
    assert {batch.status for batch in batches} == {BatchStatus.CLEARED}
    assert max(map(imbalance, batches)) <= 1e-6
    assert any(bid.rate != 0 for bid in batches[-1].bids)
    assert {p.name for p in batches[-1].products.values()} == {
        "BTCUSDT",
        "ETHUSDT",
        "SOLUSDT",
    }
    for product in batches[-1].products.values():
        # Bidders quote around the exchange's mid, so the auction clears near it.
        assert product.price == pytest.approx(product.reference, rel=0.005)


async def test_the_same_seed_gives_the_same_batches_bit_for_bit(tmp_path):
    async def run(name, seed):
        (tmp_path / name).mkdir()
        async with open_house(lockstep(tmp_path / name, seed=seed)) as house:
            records = await run_lockstep(house, lockstep(tmp_path / name, seed=seed))
        return [
            (r.as_of, r.input_hash, r.outcome_hash, r.gains, r.products)
            for r in records
        ]

    once, again, other = await run("a", 7), await run("b", 7), await run("c", 8)

    assert once == again
    assert [row[1] for row in once] != [row[1] for row in other]


async def test_a_recorded_session_ends_with_its_own_final_book(tmp_path, session):
    expected = json.loads(session.read_text())["final"]
    config = lockstep(tmp_path, recordings=(session,), batches=None, every=5.0)

    async with open_house(config) as house:
        records = await run_lockstep(house, config)
        (key,) = house.server.products.values()
        book = house.server.feed.book(key)

    assert book.state is BookState.LIVE
    assert book.sequence == expected["sequence"]
    for side, levels in (("bids", book.bids(10)), ("asks", book.asks(10))):
        assert [(level.price, level.amount) for level in levels] == [
            (Decimal(price), Decimal(amount))
            for price, amount in expected[f"{side}_top"]
        ]
    assert (book.bid_count, book.ask_count) == (
        expected["bid_levels"],
        expected["ask_levels"],
    )
    assert len(records) >= 3
    assert {record.status for record in records} == {BatchStatus.CLEARED}


async def test_a_trades_exchange_time_comes_through_the_chain(tmp_path, recording):
    config = lockstep(tmp_path, recordings=(recording,), batches=3)
    trades = {}
    with gzip.open(recording, "rt") as lines:
        for _, line in zip(range(3000), lines, strict=False):
            data = json.loads(line.split(" ", 1)[1]).get("data", {})
            if data.get("e") == "trade":
                trades[str(data["t"])] = data["T"] * 1_000_000

    async with open_house(config) as house:
        await run_lockstep(house, config)
        (key,) = house.server.products.values()
        event = house.server.feed.trade(key)

    assert isinstance(event.kind, PublicTrade)
    assert event.time_exchange == trades[event.kind.id]


async def test_history_is_readable_by_http_while_it_runs(tmp_path):
    config = lockstep(tmp_path, batches=3)

    async with open_house(config) as house:
        records = await run_lockstep(house, config)
        async with house.admin_client() as admin:
            page = await admin.batches()
            latest = await admin.batch()
            product = next(iter(records[-1].products))
            outcomes = await admin.product_outcomes(product)

    assert [batch.seq for batch in page.results] == [3, 2, 1]
    assert latest == records[-1]
    assert [o.value["price"] for o in outcomes.results] == [
        record.products[product].price for record in reversed(records)
    ]
    assert latest.certificate.status == "certified"


async def test_a_stored_batch_is_replayed_to_the_same_outcome(tmp_path):
    config = lockstep(tmp_path, batches=2)

    async with open_house(config) as house:
        await run_lockstep(house, config)
        service = house.server.auction.service
        stored = await service.auctioneer.replay(service.mirror.batch.as_of)

    assert stored.identical


async def test_it_speaks_tls_with_the_exchange(tmp_path):
    config = lockstep(tmp_path, batches=1, tls=True)

    async with open_house(config) as house:
        assert house.exchange.websocket_url.startswith("wss://")
        (record,) = await run_lockstep(house, config)

    assert record.status is BatchStatus.CLEARED


async def test_the_raw_feed_is_recorded_on_request(tmp_path):
    config = lockstep(tmp_path, batches=1, record=tmp_path / "raw")

    await published(config)

    inbound = list((tmp_path / "raw").rglob("*_inbound.rec"))
    assert inbound
    assert b"depthUpdate" in b"".join(path.read_bytes() for path in inbound)


async def test_bidders_take_their_bids_back_when_they_stop(tmp_path):
    config = lockstep(tmp_path, batches=1)

    async with open_house(config) as house:
        await run_lockstep(house, config)
        for bidder in house.bidders:
            await bidder.withdraw()
        record = await house.server.auction.service.auctioneer.run_batch()

    assert record.demands == record.portfolios == 0


async def test_live_batches_follow_the_clock(tmp_path):
    updates = []
    config = DemoConfig(store="memory:", port=0, every=0.1, batches=3)

    with trio.fail_after(GUARD_SECONDS):
        await run_demo(
            config,
            stop=trio.Event(),
            started=lambda _: None,
            listener=updates.append,
        )

    batches = [u for u in updates if isinstance(u, BatchUpdate)]
    seqs = [batch.seq for batch in batches]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert len(seqs) >= 3
    # One batch for a point of the grid of tenths of a second; a bid that came between
    # the point and the cut moves the cut behind it, never into the next point's batch.
    tenths = [parse_timestamp(batch.as_of) // 100_000_000 for batch in batches]
    assert tenths == sorted(set(tenths))


async def test_stopping_a_live_run_ends_it_in_order(tmp_path):
    stop = trio.Event()
    config = DemoConfig(store=f"sqlite:{tmp_path / 'a.db'}", port=0, every=0.1)

    def listener(update):
        if isinstance(update, BatchUpdate):
            stop.set()

    with trio.fail_after(GUARD_SECONDS):
        await run_demo(config, stop=stop, started=lambda _: None, listener=listener)

    reopened = DemoConfig(
        store=f"sqlite:{tmp_path / 'a.db'}", port=0, pace=Pace.LOCKSTEP, batches=1
    )
    async with open_house(reopened) as house:
        assert house.server.auction.service.mirror.batch is not None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": 0.0}, "every"),
        ({"speed": -1.0}, "speed"),
        ({"batches": 0}, "batches"),
        ({"symbols": ()}, "symbols"),
        ({"pace": Pace.LOCKSTEP}, "lockstep"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(changes, says):
    with pytest.raises(DemoError, match=says):
        DemoConfig(store="memory:", **changes)
