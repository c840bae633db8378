"""A reference price that may not be believed any more is taken back."""

import pytest

from flowtrade.core.service import Service
from flowtrade.errors import NotFound
from flowtrade.models.update import ReferenceUpdate
from flowtrade.store.memory import MemoryStore
from flowtrade.testing import FixedSolver, RecordingPublisher, SeededIds
from netcore.clock import ManualClock


@pytest.fixture
async def service():
    clock = ManualClock()
    made = Service(
        store=MemoryStore(clock),
        solver=FixedSolver(),
        clock=clock,
        ids=SeededIds(1),
        publisher=RecordingPublisher(),
    )
    await made.load()
    return made


async def test_a_cleared_price_is_in_no_batch_and_told_as_null(service):
    item = (await service.create_product(b'{"name":"a"}')).id
    service.set_reference(item, 2.0, 10)
    service.publish_reference()

    service.clear_reference(item, 11)
    service.publish_reference()

    assert item not in service.auctioneer.reference
    told = service._publisher.of("market", "")
    assert [u.mids for u in told if isinstance(u, ReferenceUpdate)] == [
        {item: 2.0},
        {item: None},
    ]


async def test_a_price_is_told_once(service):
    first = (await service.create_product(b'{"name":"a"}')).id
    second = (await service.create_product(b'{"name":"b"}')).id
    for item in (first, second):
        service.set_reference(item, 2.0, 10)
        service.publish_reference()
    service.publish_reference()  # nothing is new

    told = service._publisher.of("market", "")
    assert [update.mids for update in told] == [{first: 2.0}, {second: 2.0}]


async def test_clearing_what_is_not_there_tells_nothing(service):
    item = (await service.create_product(b'{"name":"a"}')).id

    service.clear_reference(item, 11)
    service.publish_reference()

    assert service._publisher.of("market", "") == []


async def test_a_price_from_before_the_clearing_stays_out(service):
    item = (await service.create_product(b'{"name":"a"}')).id
    service.set_reference(item, 2.0, 10)
    service.clear_reference(item, 20)

    service.set_reference(item, 3.0, 15)
    service.set_reference(item, 4.0, 21)

    assert service.auctioneer.reference == {item: 4.0}


async def test_an_unknown_product_has_no_price_to_clear(service):
    with pytest.raises(NotFound):
        service.clear_reference("00000000-0000-4000-8000-000000000000", 1)
