"""How a service begins connections: when, by which names, and what goes wrong."""

import pytest

from netcore.errors import ConnectError, ConnectTimeout, ResolveError, ResolveTimeout
from netcore.info import ConnectionInfo
from netcore.service import Failed
from netcore.testing import ScriptedStream

# -- beginnings ----------------------------------------------------------------------


def test_the_first_connection_is_made_at_once_and_the_next_after_the_interval(kit):
    setup = kit.Setup()
    for name in "abc":
        setup.venue(name)

    assert setup.turn() == ["a create", "a poll"]
    assert setup.turn(0.999) == ["a poll"]
    assert setup.turn(0.001) == ["b create", "a poll", "b poll"]
    assert setup.turn(5) == ["c create", "a poll", "b poll", "c poll"]
    assert (setup.active(), setup.pending()) == (["a", "b", "c"], [])


def test_the_interval_can_be_chosen_and_still_one_is_made_per_turn(kit):
    setup = kit.Setup(connect_interval=0)
    for name in "ab":
        setup.venue(name)

    assert setup.turn() == ["a create", "a poll"]
    assert setup.turn() == ["b create", "a poll", "b poll"]


def test_a_reconnection_waits_for_its_turn_too(kit):
    setup = kit.Setup()
    first, second = setup.venue("a"), setup.venue("b")
    setup.turn()
    first.on_poll = kit.failing(OSError("broken"))
    setup.turn(0.5)
    first.on_poll = None

    assert setup.pending() == ["b", "a"]
    assert setup.turn(0.5) == ["b create", "b poll"]
    assert setup.turn(1) == ["a create", "b poll", "a poll"]
    assert second.reasons == []


def test_a_handle_stays_through_all_connections(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    other = setup.venue("b")
    seen = []
    for _ in range(3):
        setup.turn(1)
        setup.turn(1)
        seen.append(setup.service.target(venue.handle))
        venue.on_poll = kit.failing(OSError("broken"))
        setup.turn()
        venue.on_poll = None

    assert seen == venue.streams[:3]
    assert len(set(map(id, seen))) == 3
    assert venue.handle != other.handle


def test_create_may_say_not_now(kit):
    setup = kit.Setup()
    shy, other = setup.venue("a"), setup.venue("b")
    shy.on_create = lambda: None

    assert setup.turn() == ["a create"]
    assert setup.pending() == ["b", "a"]
    assert setup.turn(1) == ["b create", "b poll"]
    assert setup.turn(1) == ["a create", "b poll"]
    assert [q.host for q in setup.resolver.queries] == ["a", "b", "a", "a"]
    assert shy.reasons == other.reasons == []


def test_a_create_that_raises_is_a_failure_and_loses_nobody(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    error = OSError(13, "Permission denied")
    venue.on_create = kit.failing(error)

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert setup.pending() == ["a"]
    assert setup.resolver.reports == [("a", kit.ADDRESS, error)]
    venue.on_create = None
    assert setup.turn(1) == ["a create", "a poll"]


def test_a_failing_create_is_not_repeated_as_fast_as_the_loop_turns(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_create = kit.failing(OSError("no"))

    created = [entry for _ in range(10) for entry in setup.turn(0.25)]

    assert created == ["a create"] * 3


def test_what_cannot_be_watched_is_a_failure(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_create = object

    setup.turn()

    (reason,) = venue.reasons
    assert isinstance(reason.error, TypeError)
    assert "object cannot be watched; define selectable in Venue" in str(reason)


def test_a_selector_that_refuses_is_a_failure_and_closes_the_stream(kit):
    class Refusing:
        def register(self, key, target):
            raise OSError(9, "Bad file descriptor")

        def poll(self, timeout=0.0):
            return []

        def close(self):
            pass

    setup = kit.Setup(selector=Refusing())
    venue = setup.venue("a")

    setup.turn()

    assert venue.reasons == [Failed(venue.reasons[0].error)]
    assert venue.streams[0].closed
    assert setup.active() == []


def test_a_protocol_object_is_watched_by_its_stream(kit):
    class Protocol:
        def __init__(self):
            self.stream = ScriptedStream(connecting=1)

    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_create = Protocol

    assert setup.turn() == ["a create"]
    assert setup.turn() == ["a poll"]
    assert isinstance(setup.service.target(venue.handle), Protocol)


def test_the_endpoint_may_learn_its_handle_before_it_is_made(kit):
    setup = kit.Setup()
    made = []

    def factory(handle):
        made.append(handle)
        return kit.Venue("a", setup.log)

    assert setup.service.register_with(factory) == made[0]
    assert setup.pending() == ["a"]


def test_a_factory_or_resolver_that_raises_adds_nothing(kit):
    setup = kit.Setup()

    with pytest.raises(KeyError):
        setup.service.register_with(kit.failing(KeyError()))
    setup.resolver.refuse = ValueError("no such resolver")
    with pytest.raises(ValueError, match="no such resolver"):
        setup.venue("a")
    assert setup.pending() == []


def test_info_is_read_anew_for_each_connection(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()
    venue.info = ConnectionInfo("fallback", 443)
    venue.on_poll = kit.failing(OSError("broken"))

    setup.turn()

    assert [q.host for q in setup.resolver.queries] == ["a", "fallback"]


# -- DNS -----------------------------------------------------------------------------


def test_a_name_that_is_not_known_yet_lets_others_pass(kit):
    setup = kit.Setup()
    setup.resolver.waiting = {"slow"}
    setup.venue("slow")
    setup.venue("b")

    assert setup.turn() == ["b create", "b poll"]
    assert setup.pending() == ["slow"]
    assert setup.turn(1) == ["b poll"]
    setup.resolver.queries[0].answer = [kit.ADDRESS]
    # Waiting for a name is not an attempt: nothing has to be waited for after it.
    assert setup.turn() == ["slow create", "b poll", "slow poll"]


def test_the_order_of_those_that_wait_stays(kit):
    setup = kit.Setup()
    setup.resolver.waiting = {"a", "b", "c"}
    for name in "abc":
        setup.venue(name)

    for _ in range(5):
        setup.turn(1)

    assert setup.pending() == ["a", "b", "c"]


def test_a_failed_look_up_is_a_failure_and_is_tried_again(kit):
    setup = kit.Setup()
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")
    error = ResolveError("no such name")
    setup.resolver.queries[0].answer = error

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert setup.pending() == ["a"]
    setup.resolver.queries[1].answer = error
    setup.turn(0.5)
    assert len(venue.reasons) == 1
    setup.turn(0.5)
    assert len(venue.reasons) == 2


def test_an_answer_without_addresses_is_a_failure(kit):
    setup = kit.Setup()
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")
    setup.resolver.queries[0].answer = []

    setup.turn()

    assert isinstance(venue.reasons[0].error, ResolveError)
    assert "'a' found no address" in str(venue.reasons[0])


def test_a_look_up_that_takes_too_long_is_a_failure(kit):
    setup = kit.Setup(dns_timeout=5)
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")

    setup.turn(4.999)
    assert venue.reasons == []
    setup.turn(0.001)

    assert isinstance(venue.reasons[0].error, ResolveTimeout)
    assert isinstance(venue.reasons[0].error, TimeoutError)
    assert setup.resolver.queries[0].cancelled
    assert setup.pending() == ["a"]
    assert len(setup.resolver.queries) == 2


def test_look_ups_time_out_even_while_nothing_may_be_created(kit):
    setup = kit.Setup(dns_timeout=0.2)
    setup.resolver.waiting = {"slow"}
    setup.venue("a")
    slow = setup.venue("slow")
    setup.venue("c")

    setup.turn()
    setup.turn(0.2)

    assert isinstance(slow.reasons[0].error, ResolveTimeout)
    assert setup.pending() == ["c", "slow"]


def test_an_answer_that_waits_for_its_turn_is_not_late(kit):
    setup = kit.Setup(dns_timeout=0.2)
    setup.venue("a")
    second = setup.venue("b")
    setup.turn()

    setup.turn(0.5)
    setup.turn(0.5)

    assert second.reasons == []
    assert setup.active() == ["a", "b"]


def test_a_resolver_that_raises_on_a_reconnection_is_a_failed_look_up(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()
    refusal = RuntimeError("resolver closed")
    setup.resolver.refuse = refusal
    venue.on_poll = kit.failing(OSError("broken"))
    setup.turn()

    setup.turn(1)

    assert venue.reasons[1] == Failed(refusal)
    assert setup.pending() == ["a"]


def test_the_resolver_learns_how_connecting_went(kit):
    setup = kit.Setup(connect_interval=0)
    good = setup.venue("good")
    bad = setup.venue("bad")
    refused = ConnectError("refused", errno=111)
    bad.on_create = lambda: kit.Refused(refused)
    setup.turn()
    setup.turn()

    assert setup.resolver.reports == [
        ("good", kit.ADDRESS, None),
        ("bad", kit.ADDRESS, refused),
    ]
    good.on_poll = kit.failing(OSError("broken"))
    setup.turn()
    assert len(setup.resolver.reports) == 3  # a later end says nothing of the address
    assert bad.reasons[0] == Failed(refused)


def test_a_failure_that_says_nothing_of_the_network_is_not_reported(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_create = lambda: kit.Refused(ValueError("not a matter of addresses"))

    setup.turn()

    assert len(venue.reasons) == 1
    assert setup.resolver.reports == []


# -- connecting ----------------------------------------------------------------------


def test_nobody_acts_before_the_connection_stands(kit):
    setup = kit.Setup()
    setup.venue("a", connecting=3)

    assert setup.turn() == ["a create"]
    assert setup.turn() == []
    assert setup.turn() == []
    assert setup.turn() == ["a poll"]


def test_a_connection_that_takes_too_long_is_a_failure(kit):
    setup = kit.Setup(connect_timeout=3)
    venue = setup.venue("a", connecting=100)
    setup.turn()

    setup.turn(2.999)
    assert venue.reasons == []
    setup.turn(0.001)

    assert isinstance(venue.reasons[0].error, ConnectTimeout)
    assert "a:443 at 192.0.2.1:443 did not finish" in str(venue.reasons[0])
    assert venue.streams[0].closed


def test_a_connection_that_stands_has_no_connect_timeout(kit):
    setup = kit.Setup(connect_timeout=3)
    venue = setup.venue("a")
    setup.turn()

    setup.turn(100)

    assert venue.reasons == []
