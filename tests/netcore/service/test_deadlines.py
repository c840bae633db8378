"""When endpoints act though nothing came, and how long a driver may wait."""

from netcore.clock import ManualClock
from netcore.service import Failed


def test_an_endpoint_acts_at_its_own_deadline_and_not_before(kit):
    setup = kit.Setup(selector=kit.Quiet())
    venue = kit.alarm(setup, due=5 * 10**9)
    venue.on_poll = lambda *_: setattr(venue, "due", venue.due + 3 * 10**9)
    setup.turn()

    assert setup.turn(4.999) == []
    assert setup.turn(0.001) == ["a poll"]
    assert setup.turn(2.999) == []
    assert setup.turn(0.001) == ["a poll"]


def test_of_several_deadlines_each_is_met(kit):
    setup = kit.Setup(selector=kit.Quiet(), connect_interval=0)
    venues = [kit.alarm(setup, due=due * 10**9) for due in (7, 3, 5)]
    for number, venue in enumerate(venues):
        venue.name = str(number)
        venue.on_poll = lambda *_, venue=venue: setattr(venue, "due", None)
        setup.turn()

    acted = [setup.turn(1) for _ in range(8)]

    assert acted == [[], [], ["1 poll"], [], ["2 poll"], [], ["0 poll"], []]


def test_a_deadline_that_moves_is_followed(kit):
    setup = kit.Setup(selector=kit.Quiet())
    venue = kit.alarm(setup, due=5 * 10**9)
    setup.turn()
    venue.due = 50 * 10**9
    setup.service.dispatch(venue.handle, lambda *_: None)

    assert setup.turn(5) == []
    assert setup.turn(45) == ["a poll"]


def test_a_deadline_past_and_ignored_is_every_turn(kit):
    setup = kit.Setup(selector=kit.Quiet())
    kit.alarm(setup, due=0)
    setup.turn()

    assert setup.turn() == ["a poll"]
    assert setup.turn() == ["a poll"]


def test_a_deadline_holds_while_connecting(kit):
    setup = kit.Setup(selector=kit.Quiet())
    venue = kit.alarm(setup, due=5 * 10**9, connecting=100)
    error = TimeoutError("my own limit")
    venue.on_poll = kit.failing(error)
    setup.turn()
    setup.turn(4)
    assert venue.reasons == []

    setup.turn(1)

    assert venue.reasons == [Failed(error)]


def test_a_deadline_that_raises_is_a_failure_of_that_connection(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    error = ValueError("bug")
    venue.deadline = kit.failing(error)

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert venue.streams[0].closed


def test_an_endpoint_takes_the_services_clock_unless_it_has_one(kit):
    setup = kit.Setup()
    mine = ManualClock()
    own = kit.Venue("b")
    own.clock = mine
    venue = setup.venue("a")
    setup.service.register(own)

    assert venue.clock is setup.clock
    assert own.clock is mine


def test_a_driver_may_wait_for_ever_only_if_nothing_is_due(kit):
    setup = kit.Setup(selector=kit.Quiet())
    assert kit.seconds(setup) is None

    venue = kit.Connected("a", setup.log)
    setup.service.register(venue)
    assert kit.seconds(setup) == 0.001  # the look-up has not been polled yet
    setup.turn()
    assert kit.seconds(setup) is None


def test_a_driver_waits_no_longer_than_until_the_next_moment(kit):
    setup = kit.Setup(selector=kit.Quiet(), auto_disconnect=60, connect_timeout=10)
    setup.service.register(kit.Connected("a", setup.log, connecting=2))
    setup.turn()
    assert kit.seconds(setup) == 10

    kit.alarm(setup, due=5 * 10**9)
    assert kit.seconds(setup) == 1  # until the second connection may be made
    setup.turn(1)
    assert kit.seconds(setup) == 0.001  # its stream has no descriptor


def test_look_ups_under_way_are_visited_until_they_time_out(kit):
    setup = kit.Setup(selector=kit.Quiet(), dns_timeout=5)
    setup.resolver.waiting.add("a")
    setup.venue("a")
    setup.turn()
    assert kit.seconds(setup) == 0.001

    setup.turn(5)  # failed, and asked again under the throttle
    assert kit.seconds(setup) == 1


def test_a_look_up_times_out_though_no_connection_may_be_made_for_long(kit):
    setup = kit.Setup(selector=kit.Quiet(), connect_interval=60, dns_timeout=5)
    setup.service.register(kit.Connected("a", setup.log))
    setup.turn()
    setup.resolver.waiting.add("b")
    setup.venue("b")

    assert kit.seconds(setup) == 5


def test_nothing_is_left_to_wait_for_when_an_endpoint_has_gone(kit):
    setup = kit.Setup(selector=kit.Quiet(), auto_disconnect=60, connect_timeout=10)
    handles = [kit.alarm(setup, due=5 * 10**9).handle]
    every = kit.Venue("b", setup.log, incoming=[b"inside"])
    every.every_turn = True
    handles.append(setup.service.register(every))
    setup.turn()
    setup.turn(1)
    assert len(setup.active()) == 2

    for handle in handles:
        setup.service.deregister(handle)
    setup.turn(100)

    assert kit.seconds(setup) is None


def test_bytes_inside_forbid_to_wait(kit):
    setup = kit.Setup(selector=kit.Quiet())
    setup.service.register(kit.Connected("a", setup.log, incoming=[b"x"]))
    setup.turn()

    assert kit.seconds(setup) == 0


def test_what_is_asked_for_outside_a_turn_is_told_to_the_driver(kit):
    setup = kit.Setup(selector=kit.Quiet())
    told = []
    setup.service.on_change = lambda: told.append(1)

    venue = setup.venue("a")
    assert len(told) == 1
    setup.turn()
    assert len(told) == 1
    setup.service.dispatch(venue.handle, lambda *_: None)
    assert len(told) == 2
