"""A hundred thousand messages in one session leave nothing behind.

The program that looks at time as well is `benchmarks/integration/soak.py`.
"""

import gc
import random
import sys

import pytest

from integration.market import books
from integration.market.outlet import Outlet
from integration.market.playback import Playback
from integration.models import ExchangeId
from integration.stream.channel import OverloadPolicy

NOW = 1_700_000_000_000_000_000
MESSAGES = 100_000
READ = 20
LEVELS = 300
BLOCKS = 5_000
"""Python's own blocks of memory: half a megabyte, where one block a message would be a
hundred thousand."""


def mixed(seed):
    """Quotes, trades and depth updates with ever new amounts."""
    rng = random.Random(seed)  # noqa: S311  nothing is to be kept secret
    number, last = 0, 1
    while True:
        number += 1
        price = f"{rng.randrange(1, 100 * LEVELS) / 100:.2f}"
        amount = f"{rng.random():.8f}"
        kind = rng.random()
        if kind < 0.6:
            body = f'"u":{number},"s":"BTCUSDT","b":"{price}","B":"{amount}"'
            yield f'{{{body},"a":"{price}","A":"{amount}"}}'.encode()
        elif kind < 0.9:
            body = f'"e":"trade","s":"BTCUSDT","t":{number},"p":"{price}"'
            yield f'{{{body},"q":"{amount}","T":{number},"m":true}}'.encode()
        else:
            last += 1
            level = rng.randrange(LEVELS)
            gone = rng.random() < 0.5
            row = f'["{100 - level / 100:.2f}","{"0.00000000" if gone else amount}"]'
            body = f'"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{last},"u":{last}'
            yield f'{{{body},"b":[{row}],"a":[["{200 + level}","{amount}"]]}}'.encode()


def blocks():
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.slow
@pytest.mark.parametrize("policy", [OverloadPolicy.BLOCK, OverloadPolicy.CONFLATE])
async def test_memory_does_not_grow_with_the_number_of_messages(policy):
    playback, outlet = Playback(ExchangeId.BINANCE_SPOT), Outlet(1000, policy)
    image = b'{"lastUpdateId":1,"bids":[["100","1"]],"asks":[["500","1"]]}'
    playback.feed_image(image, NOW, symbol="BTCUSDT")
    source, events, warm = mixed(1), 0, 0

    for read in range(MESSAGES // READ):
        if read * READ == MESSAGES // 5:
            warm = blocks()
        payloads = [next(source) for _ in range(READ)]
        outlet.put(playback.feed_batch(payloads, NOW))
        events += len(outlet.take_nowait())
    grown = blocks() - warm

    assert events == MESSAGES
    assert grown < BLOCKS
    (book,) = playback.books.values()
    assert book.bid_count + book.ask_count <= 2 * LEVELS + 2
    assert len(outlet) == 0


def test_no_memory_of_spellings_outgrows_its_bound(monkeypatch):
    monkeypatch.setattr(books, "_MEMO_LIMIT", 100)
    playback = Playback(ExchangeId.BINANCE_SPOT, max_depth=10)
    image = b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[["5000","1"]]}'
    playback.feed_image(image, NOW, symbol="BTCUSDT")

    for number in range(2, 1000):
        payload = (
            f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{number},"u":{number},'
            f'"b":[["{number}","{number}"]],"a":[]}}'
        )
        assert len(playback.feed_batch([payload.encode()], NOW)) == 1

    (book,) = playback.books.values()
    assert book.bid_count == 10
    assert len(book._bids.ticks) <= 100
