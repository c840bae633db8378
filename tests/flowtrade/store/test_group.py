"""How operations come to share a commit."""

from uuid import UUID

import pytest
import trio
import trio.testing

from flowtrade.core.operations import AddDemand
from flowtrade.models.curve import ConstantCurve
from flowtrade.settings import StoreSettings
from flowtrade.store import open_store
from flowtrade.store.group import GroupStore
from netcore.clock import ManualClock


def add(number):
    key = str(UUID(int=100 + number))
    curve = ConstantCurve(price=number)
    return AddDemand(id=key, owner=key, app_data=b"null", curve=curve)


@pytest.fixture
def groups(monkeypatch):
    """The sizes of all groups that are committed."""
    sizes = []
    commit = GroupStore._commit

    def count(self, writer, group, heard):
        sizes.append(sum(len(ticket.operations) for ticket in group))
        commit(self, writer, group, heard)

    monkeypatch.setattr(GroupStore, "_commit", count)
    return sizes


@pytest.fixture
async def store(tmp_path, groups):
    settings = StoreSettings(url=f"sqlite:{tmp_path}/store.db")
    async with open_store(settings, clock=ManualClock()) as opened:
        yield opened


async def test_all_that_ask_in_one_turn_share_a_commit_in_the_order_of_asking(
    store, groups
):
    heard = []
    store.subscribe(lambda applied: heard.append(applied.operation))
    await trio.testing.wait_all_tasks_blocked()
    tickets = [store._enqueue([add(number)])[0] for number in range(50)]
    for ticket in tickets:
        (result,) = await ticket.wait()
        assert result.operation is ticket.operations[0]

    assert groups == [50]
    assert heard == [add(number) for number in range(50)]


async def test_what_is_asked_in_the_turn_of_the_close_is_carried_out(store, groups):
    (ticket,) = store._enqueue([add(1)])
    store.close()
    with trio.fail_after(60):
        (result,) = await ticket.wait()

    assert result.operation == add(1)
    assert groups == [1]


async def test_a_list_longer_than_a_group_is_taken_in_pieces(tmp_path, groups):
    settings = StoreSettings(url=f"sqlite:{tmp_path}/other.db", group=4)
    async with open_store(settings, clock=ManualClock()) as store:
        results = await store.execute_many([add(number) for number in range(10)])

    assert [result.operation for result in results] == [add(n) for n in range(10)]
    assert sum(groups) == 10
    assert max(groups) <= 4


async def test_lists_of_one_turn_fill_groups_and_leave_the_rest_for_the_next(
    tmp_path, groups
):
    settings = StoreSettings(url=f"sqlite:{tmp_path}/other.db", group=4)
    async with open_store(settings, clock=ManualClock()) as store:
        await trio.testing.wait_all_tasks_blocked()
        tickets = [store._enqueue([add(number)])[0] for number in range(10)]
        store.close()  # what was taken is carried out all the same
        with trio.fail_after(60):
            results = [(await ticket.wait())[0].operation for ticket in tickets]

    assert results == [add(number) for number in range(10)]
    assert groups == [4, 4, 2]


async def test_who_stops_waiting_leaves_the_operation_and_can_ask_again(store, groups):
    (ticket,) = store._enqueue([add(1)])
    with trio.CancelScope() as scope:
        scope.cancel()
        await ticket.wait()
    assert scope.cancelled_caught

    with trio.fail_after(60):
        (result,) = await ticket.wait()
        assert (await ticket.wait()) == [result]  # and any number of times

    assert result.operation == add(1)
    assert groups == [1]
