"""How connections of a service end: by failures, and by their time to live."""

from datetime import timedelta

import pytest

from netcore.errors import EndpointLost
from netcore.service import AutoDisconnect, Failed

# -- endings -------------------------------------------------------------------------


def test_an_action_that_raises_ends_the_connection_and_disturbs_nobody(kit):
    setup = kit.Setup()
    a, b = kit.connected_pair(setup)
    error = ConnectionResetError("peer")
    a.on_poll = kit.failing(error)

    assert setup.turn() == ["a poll", "b poll"]

    assert a.reasons == [Failed(error)]
    assert a.streams[0].closed
    assert not b.streams[0].closed
    assert (setup.active(), setup.pending()) == (["b"], ["a"])


def test_what_may_not_come_again_is_reported_after_all_had_their_turn(kit):
    setup = kit.Setup()
    a, _ = kit.connected_pair(setup)
    a.recreate = False
    error = OSError("broken")
    a.on_poll = kit.failing(error)

    with pytest.raises(EndpointLost) as caught:
        setup.turn()

    assert setup.log == ["a poll", "b poll"]
    assert caught.value.handle == a.handle
    assert caught.value.reason == Failed(error)
    assert caught.value.__cause__ is error
    assert setup.turn(5) == ["b poll"]


def test_several_lost_endpoints_are_reported_together(kit):
    setup = kit.Setup()
    a, b = kit.connected_pair(setup)
    for venue in (a, b):
        venue.recreate = False
        venue.on_poll = kit.failing(OSError(venue.name))

    with pytest.raises(EndpointLost, match="and 1 more in this turn") as caught:
        setup.turn()

    assert caught.value.handle == a.handle
    assert [handle for handle, _ in caught.value.others] == [b.handle]
    assert setup.turn(5) == []


def test_a_can_recreate_that_raises_loses_the_endpoint_and_says_why(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()
    venue.recreate = ValueError("bug")
    venue.on_poll = kit.failing(OSError("broken"))

    with pytest.raises(EndpointLost) as caught:
        setup.turn()
    assert caught.value.reason == Failed(venue.recreate)
    assert venue.recreate.__notes__ == [
        "raised by can_recreate, asked after: OSError: broken"
    ]


def test_a_close_that_raises_is_noted_on_the_error_that_ended(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()
    error = OSError("broken")
    venue.on_poll = kit.failing(error)
    venue.streams[0].close = kit.failing(OSError("cannot close"))

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert error.__notes__ == ["closing it failed, too: OSError('cannot close')"]


def test_a_close_that_raises_after_the_ttl_is_the_failure(kit):
    setup = kit.Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    error = OSError("cannot close")
    venue.streams[0].close = kit.failing(error)

    setup.turn(10)

    assert venue.reasons == [Failed(error)]


def test_a_target_that_cannot_be_used_nor_closed_is_noted(kit):
    setup = kit.Setup()
    venue = setup.venue("a")

    class Odd:
        def close(self):
            raise OSError("cannot close")

    venue.on_create = Odd
    setup.turn()

    (reason,) = venue.reasons
    assert reason.error.__notes__ == ["closing it failed, too: OSError('cannot close')"]


def test_interrupts_pass_through(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_poll = kit.failing(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        setup.turn()
    assert setup.active() == ["a"]


def test_an_endpoint_may_end_its_own_connection_by_a_timer(kit):
    class Timer(kit.Venue):
        every_turn = True

        def poll(self, target, context):
            if clock.monotonic_ns() >= 30 * 10**9:
                raise TimeoutError("daily restart")

    setup = kit.Setup()
    clock = setup.clock
    timer = Timer("t", setup.log)
    setup.service.register(timer)
    setup.turn()

    setup.turn(29)
    assert timer.reasons == []
    setup.turn(1)
    assert str(timer.reasons[0]) == "TimeoutError: daily restart"


# -- time to live --------------------------------------------------------------------


@pytest.mark.parametrize(
    "ttl", [60, 60.0, timedelta(minutes=1), lambda: 60, lambda: timedelta(minutes=1)]
)
def test_a_connection_ends_after_its_time_to_live(ttl, kit):
    setup = kit.Setup(auto_disconnect=ttl)
    venue = setup.venue("a")
    setup.turn()

    assert setup.turn(59.999) == ["a poll"]
    assert setup.turn(0.001) == []
    assert venue.reasons == [AutoDisconnect(60.0)]
    assert venue.streams[0].closed
    assert setup.turn() == ["a create", "a poll"]


def test_the_time_to_live_starts_with_the_creation_and_is_monotonic(kit):
    setup = kit.Setup(auto_disconnect=60)
    venue = setup.venue("a", connecting=5)
    setup.turn()
    setup.clock.set_wall(0)

    setup.turn(60)

    assert venue.reasons == [AutoDisconnect(60.0)]


def test_an_endpoint_may_refuse_to_end_and_is_asked_again_after_a_further_ttl(kit):
    setup = kit.Setup(auto_disconnect=60)
    venue = setup.venue("a")
    setup.turn()
    venue.may_disconnect = False

    setup.turn(60)
    venue.may_disconnect = True
    setup.turn(59.999)
    assert venue.reasons == []
    setup.turn(0.001)
    assert venue.reasons == [AutoDisconnect(60.0)]


def test_each_connection_gets_a_time_of_its_own(kit):
    times = iter([10, 20, 5])
    setup = kit.Setup(auto_disconnect=lambda: next(times))
    a, b = setup.venue("a"), setup.venue("b")
    setup.turn()
    setup.turn(1)

    setup.turn(9)
    assert a.reasons == [AutoDisconnect(10)]
    setup.turn(0.5)
    setup.turn(5)
    assert a.reasons == [AutoDisconnect(10), AutoDisconnect(5)]
    setup.turn(5.5)
    assert b.reasons == [AutoDisconnect(20)]


def test_a_supplier_that_raises_is_a_failure_of_that_connection(kit):
    setup = kit.Setup(auto_disconnect=kit.failing(KeyError("no ttl")))
    venue = setup.venue("a")

    setup.turn()

    assert isinstance(venue.reasons[0].error, KeyError)
    assert venue.streams[0].closed


def test_a_can_auto_disconnect_that_raises_is_a_failure(kit):
    setup = kit.Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    venue.may_disconnect = ValueError("bug")

    setup.turn(10)

    assert venue.reasons == [Failed(venue.may_disconnect)]


def test_the_end_of_a_ttl_may_lose_the_endpoint(kit):
    setup = kit.Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    venue.recreate = False

    with pytest.raises(EndpointLost, match="auto disconnect after 10 s") as caught:
        setup.turn(10)
    assert caught.value.__cause__ is None
