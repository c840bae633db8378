"""Lists of products: the same in turns as in one go, and of one moment."""

import msgspec
import pytest

from flowtrade.core import turns
from flowtrade.core.catalogue import ProductFilter
from flowtrade.ids import TimeOrderedIds
from flowtrade.testing.bench import open_bench

FILTERS = [
    ProductFilter(limit=100),
    ProductFilter(limit=4),
    ProductFilter(limit=9, kind="1"),
    ProductFilter(limit=2, kind="0", leaves=True),
    ProductFilter(limit=100, start=3_600_000_000_000, thru=9 * 3_600_000_000_000),
    ProductFilter(limit=100, kind="none"),
]


def terms(number, minutes=0):
    start, thru = (f"1970-01-01T{number:02}:{m:02}:00Z" for m in (0, minutes))
    return msgspec.json.encode({"kind": number % 2, "from": start, "thru": thru})


def plain(page):
    return msgspec.json.decode(msgspec.json.encode(page))


@pytest.fixture
async def service():
    async with open_bench(ids=TimeOrderedIds()) as bench:
        for number in range(20):
            record = await bench.service.create_product(terms(number))
            if number % 5 == 0:
                await bench.service.partition(record.id, [(terms(number, 30), 2.0)])
        yield bench.service


@pytest.mark.parametrize("wanted", FILTERS)
async def test_a_list_in_turns_is_the_list_in_one_go(service, wanted, monkeypatch):
    monkeypatch.setattr(turns, "_TURN", -1.0)

    listed = await service.list_products(wanted)

    assert plain(listed) == plain(service.products(wanted))


@pytest.mark.parametrize("leaves", [False, True])
async def test_what_happens_while_a_list_is_made_is_not_in_it(
    service, monkeypatch, leaves
):
    wanted = ProductFilter(limit=100, leaves=leaves)
    before = service.products(wanted)
    last = before.results[-1].id
    changed = []

    async def change(_turns):  # at the first pause
        if not changed:
            changed.append(True)
            await service.create_product(terms(21))
            await service.partition(last, [(terms(22), 1.0)])

    monkeypatch.setattr(turns.Turns, "give_way", change)
    listed = await service.list_products(wanted)

    assert changed
    assert plain(listed) == plain(before)
    assert plain(service.products(wanted)) != plain(before)
