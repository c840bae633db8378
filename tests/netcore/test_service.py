import socket
import ssl
from datetime import timedelta

import pytest
import trustme

from netcore.clock import ManualClock
from netcore.dns import StaticResolver
from netcore.errors import (
    ConnectError,
    ConnectTimeout,
    EndpointLost,
    ResolveError,
    ResolveTimeout,
    StreamClosed,
)
from netcore.info import Address, ConnectionInfo
from netcore.select import DirectSelector, EpollSelector
from netcore.service import (
    AutoDisconnect,
    Endpoint,
    Failed,
    Handle,
    IOService,
)
from netcore.stream import TcpStream, TlsStream, secure_context
from netcore.testing import ScriptedStream, reserved_port

ADDRESS = Address("192.0.2.1", 443)


class ManualQuery:
    """A query whose answer the test gives."""

    def __init__(self, host):
        self.host = host
        self.answer = None
        self.cancelled = False

    def poll(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self):
        self.cancelled = True


class ManualResolver:
    """Notes what is asked; answers at once unless told to wait or refuse."""

    def __init__(self):
        self.queries = []
        self.reports = []
        self.waiting = set()
        self.refuse = None

    def query(self, host, port):
        if self.refuse is not None:
            raise self.refuse
        query = ManualQuery(host)
        if host not in self.waiting:
            query.answer = [ADDRESS]
        self.queries.append(query)
        return query

    def report(self, host, address, error):
        self.reports.append((host, address, error))


class Venue(Endpoint):
    """An endpoint that notes everything and does what it is told."""

    def __init__(self, name, log=None, **stream_options):
        super().__init__(ConnectionInfo(name, 443))
        self.name = name
        self.log = log if log is not None else []
        self.stream_options = stream_options
        self.streams = []
        self.reasons = []
        self.recreate = True
        self.may_disconnect = True
        self.on_create = None
        self.on_poll = None

    def create(self, address, context):
        self.log.append(f"{self.name} create")
        assert address == ADDRESS
        if self.on_create is not None:
            return self.on_create()
        stream = ScriptedStream(**self.stream_options)
        self.streams.append(stream)
        return stream

    def poll(self, target, context):
        self.log.append(f"{self.name} poll")
        if self.on_poll is not None:
            return self.on_poll(target, context)
        return None

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        if isinstance(self.recreate, Exception):
            raise self.recreate
        return self.recreate

    def can_auto_disconnect(self, context):
        if isinstance(self.may_disconnect, Exception):
            raise self.may_disconnect
        return self.may_disconnect


class Setup:
    """A service whose clock and resolver the test holds."""

    def __init__(self, **options):
        self.clock = ManualClock()
        self.resolver = ManualResolver()
        self.log = []
        self.service = IOService(
            options.pop("selector", None) or DirectSelector(),
            clock=self.clock,
            resolver=self.resolver,
            **options,
        )

    def venue(self, name, **stream_options):
        venue = Venue(name, self.log, **stream_options)
        venue.handle = self.service.register(venue)
        return venue

    def turn(self, seconds=0.0):
        """Move the clock, make a turn, and return what happened in it."""
        self.clock.advance(seconds)
        self.log.clear()
        self.service.poll()
        return list(self.log)

    def active(self):
        return [endpoint.name for _, _, endpoint in self.service.active()]

    def pending(self):
        return [endpoint.name for _, endpoint in self.service.pending()]


def failing(error):
    def fail(*_):
        raise error

    return fail


# -- beginnings ----------------------------------------------------------------------


def test_the_first_connection_is_made_at_once_and_the_next_after_the_interval():
    setup = Setup()
    for name in "abc":
        setup.venue(name)

    assert setup.turn() == ["a create", "a poll"]
    assert setup.turn(0.999) == ["a poll"]
    assert setup.turn(0.001) == ["b create", "a poll", "b poll"]
    assert setup.turn(5) == ["c create", "a poll", "b poll", "c poll"]
    assert (setup.active(), setup.pending()) == (["a", "b", "c"], [])


def test_the_interval_can_be_chosen_and_still_one_is_made_per_turn():
    setup = Setup(connect_interval=0)
    for name in "ab":
        setup.venue(name)

    assert setup.turn() == ["a create", "a poll"]
    assert setup.turn() == ["b create", "a poll", "b poll"]


def test_a_reconnection_waits_for_its_turn_too():
    setup = Setup()
    first, second = setup.venue("a"), setup.venue("b")
    setup.turn()
    first.on_poll = failing(OSError("broken"))
    setup.turn(0.5)
    first.on_poll = None

    assert setup.pending() == ["b", "a"]
    assert setup.turn(0.5) == ["b create", "b poll"]
    assert setup.turn(1) == ["a create", "b poll", "a poll"]
    assert second.reasons == []


def test_a_handle_stays_through_all_connections():
    setup = Setup()
    venue = setup.venue("a")
    other = setup.venue("b")
    seen = []
    for _ in range(3):
        setup.turn(1)
        setup.turn(1)
        seen.append(setup.service.target(venue.handle))
        venue.on_poll = failing(OSError("broken"))
        setup.turn()
        venue.on_poll = None

    assert seen == venue.streams[:3]
    assert len(set(map(id, seen))) == 3
    assert venue.handle != other.handle


def test_create_may_say_not_now():
    setup = Setup()
    shy, other = setup.venue("a"), setup.venue("b")
    shy.on_create = lambda: None

    assert setup.turn() == ["a create"]
    assert setup.pending() == ["b", "a"]
    assert setup.turn(1) == ["b create", "b poll"]
    assert setup.turn(1) == ["a create", "b poll"]
    assert [q.host for q in setup.resolver.queries] == ["a", "b", "a", "a"]
    assert shy.reasons == other.reasons == []


def test_a_create_that_raises_is_a_failure_and_loses_nobody():
    setup = Setup()
    venue = setup.venue("a")
    error = OSError(13, "Permission denied")
    venue.on_create = failing(error)

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert setup.pending() == ["a"]
    assert setup.resolver.reports == [("a", ADDRESS, error)]
    venue.on_create = None
    assert setup.turn(1) == ["a create", "a poll"]


def test_a_failing_create_is_not_repeated_as_fast_as_the_loop_turns():
    setup = Setup()
    venue = setup.venue("a")
    venue.on_create = failing(OSError("no"))

    created = [entry for _ in range(10) for entry in setup.turn(0.25)]

    assert created == ["a create"] * 3


def test_what_cannot_be_watched_is_a_failure():
    setup = Setup()
    venue = setup.venue("a")
    venue.on_create = object

    setup.turn()

    (reason,) = venue.reasons
    assert isinstance(reason.error, TypeError)
    assert "object cannot be watched; define selectable in Venue" in str(reason)


def test_a_selector_that_refuses_is_a_failure_and_closes_the_stream():
    class Refusing:
        def register(self, key, target):
            raise OSError(9, "Bad file descriptor")

        def poll(self, timeout=0.0):
            return []

        def close(self):
            pass

    setup = Setup(selector=Refusing())
    venue = setup.venue("a")

    setup.turn()

    assert venue.reasons == [Failed(venue.reasons[0].error)]
    assert venue.streams[0].closed
    assert setup.active() == []


def test_a_protocol_object_is_watched_by_its_stream():
    class Protocol:
        def __init__(self):
            self.stream = ScriptedStream(connecting=1)

    setup = Setup()
    venue = setup.venue("a")
    venue.on_create = Protocol

    assert setup.turn() == ["a create"]
    assert setup.turn() == ["a poll"]
    assert isinstance(setup.service.target(venue.handle), Protocol)


def test_the_endpoint_may_learn_its_handle_before_it_is_made():
    setup = Setup()
    made = []

    def factory(handle):
        made.append(handle)
        return Venue("a", setup.log)

    assert setup.service.register_with(factory) == made[0]
    assert setup.pending() == ["a"]


def test_a_factory_or_resolver_that_raises_adds_nothing():
    setup = Setup()

    with pytest.raises(KeyError):
        setup.service.register_with(failing(KeyError()))
    setup.resolver.refuse = ValueError("no such resolver")
    with pytest.raises(ValueError, match="no such resolver"):
        setup.venue("a")
    assert setup.pending() == []


def test_info_is_read_anew_for_each_connection():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()
    venue.info = ConnectionInfo("fallback", 443)
    venue.on_poll = failing(OSError("broken"))

    setup.turn()

    assert [q.host for q in setup.resolver.queries] == ["a", "fallback"]


# -- DNS -----------------------------------------------------------------------------


def test_a_name_that_is_not_known_yet_lets_others_pass():
    setup = Setup()
    setup.resolver.waiting = {"slow"}
    setup.venue("slow")
    setup.venue("b")

    assert setup.turn() == ["b create", "b poll"]
    assert setup.pending() == ["slow"]
    assert setup.turn(1) == ["b poll"]
    setup.resolver.queries[0].answer = [ADDRESS]
    # Waiting for a name is not an attempt: nothing has to be waited for after it.
    assert setup.turn() == ["slow create", "b poll", "slow poll"]


def test_the_order_of_those_that_wait_stays():
    setup = Setup()
    setup.resolver.waiting = {"a", "b", "c"}
    for name in "abc":
        setup.venue(name)

    for _ in range(5):
        setup.turn(1)

    assert setup.pending() == ["a", "b", "c"]


def test_a_failed_look_up_is_a_failure_and_is_tried_again():
    setup = Setup()
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


def test_an_answer_without_addresses_is_a_failure():
    setup = Setup()
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")
    setup.resolver.queries[0].answer = []

    setup.turn()

    assert isinstance(venue.reasons[0].error, ResolveError)
    assert "'a' found no address" in str(venue.reasons[0])


def test_a_look_up_that_takes_too_long_is_a_failure():
    setup = Setup(dns_timeout=5)
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


def test_look_ups_time_out_even_while_nothing_may_be_created():
    setup = Setup(dns_timeout=0.2)
    setup.resolver.waiting = {"slow"}
    setup.venue("a")
    slow = setup.venue("slow")
    setup.venue("c")

    setup.turn()
    setup.turn(0.2)

    assert isinstance(slow.reasons[0].error, ResolveTimeout)
    assert setup.pending() == ["c", "slow"]


def test_an_answer_that_waits_for_its_turn_is_not_late():
    setup = Setup(dns_timeout=0.2)
    setup.venue("a")
    second = setup.venue("b")
    setup.turn()

    setup.turn(0.5)
    setup.turn(0.5)

    assert second.reasons == []
    assert setup.active() == ["a", "b"]


def test_a_resolver_that_raises_on_a_reconnection_is_a_failed_look_up():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()
    refusal = RuntimeError("resolver closed")
    setup.resolver.refuse = refusal
    venue.on_poll = failing(OSError("broken"))
    setup.turn()

    setup.turn(1)

    assert venue.reasons[1] == Failed(refusal)
    assert setup.pending() == ["a"]


def test_the_resolver_learns_how_connecting_went():
    setup = Setup(connect_interval=0)
    good = setup.venue("good")
    bad = setup.venue("bad")
    refused = ConnectError("refused", errno=111)
    bad.on_create = lambda: Refused(refused)
    setup.turn()
    setup.turn()

    assert setup.resolver.reports == [
        ("good", ADDRESS, None),
        ("bad", ADDRESS, refused),
    ]
    good.on_poll = failing(OSError("broken"))
    setup.turn()
    assert len(setup.resolver.reports) == 3  # a later end says nothing of the address
    assert bad.reasons[0] == Failed(refused)


def test_a_failure_that_says_nothing_of_the_network_is_not_reported():
    setup = Setup()
    venue = setup.venue("a")
    venue.on_create = lambda: Refused(ValueError("not a matter of addresses"))

    setup.turn()

    assert len(venue.reasons) == 1
    assert setup.resolver.reports == []


class Refused(ScriptedStream):
    """A stream whose connection is refused."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def connected(self):
        raise self.error


# -- connecting ----------------------------------------------------------------------


def test_nobody_acts_before_the_connection_stands():
    setup = Setup()
    setup.venue("a", connecting=3)

    assert setup.turn() == ["a create"]
    assert setup.turn() == []
    assert setup.turn() == []
    assert setup.turn() == ["a poll"]


def test_a_connection_that_takes_too_long_is_a_failure():
    setup = Setup(connect_timeout=3)
    venue = setup.venue("a", connecting=100)
    setup.turn()

    setup.turn(2.999)
    assert venue.reasons == []
    setup.turn(0.001)

    assert isinstance(venue.reasons[0].error, ConnectTimeout)
    assert "a:443 at 192.0.2.1:443 did not finish" in str(venue.reasons[0])
    assert venue.streams[0].closed


def test_a_connection_that_stands_has_no_connect_timeout():
    setup = Setup(connect_timeout=3)
    venue = setup.venue("a")
    setup.turn()

    setup.turn(100)

    assert venue.reasons == []


# -- acting --------------------------------------------------------------------------


class Ready:
    """A selector that reports whom the test names."""

    def __init__(self):
        self.keys = []
        self.updated = []
        self.closed = False

    def register(self, key, target):
        self.keys.append(key)

    def update(self, key):
        self.updated.append(key)

    def unregister(self, key):
        if key in self.keys:
            self.keys.remove(key)

    def poll(self, timeout=0.0):
        return [(key, True, False) for key in self.keys]

    def close(self):
        self.closed = True


def connected_pair(setup):
    a, b = setup.venue("a"), setup.venue("b")
    setup.turn(1)
    setup.turn(1)
    return a, b


def test_only_those_act_that_are_ready():
    selector = Ready()
    setup = Setup(selector=selector)
    _, b = connected_pair(setup)

    selector.keys = []
    assert setup.turn() == []
    selector.keys = [b.handle]
    assert setup.turn() == ["b poll"]


def test_those_act_that_hold_bytes_whatever_the_selector_says():
    selector = Ready()
    setup = Setup(selector=selector)
    a, _ = connected_pair(setup)
    selector.keys = [a.handle]
    a.streams[0].feed(b"x", b"y")
    a.on_poll = lambda target, _: len(target.receive())
    assert setup.turn() == ["a poll"]

    selector.keys = []
    assert setup.turn() == ["a poll"]
    assert setup.turn() == []


def test_those_act_that_ask_for_every_turn():
    class Timer(Venue):
        every_turn = True

    selector = Ready()
    setup = Setup(selector=selector)
    setup.service.register(Timer("t", setup.log))
    setup.turn()

    selector.keys = []
    assert [setup.turn() for _ in range(3)] == [["t poll"]] * 3


def test_everybody_acts_once_a_turn_however_many_reasons_there_are():
    class Timer(Venue):
        every_turn = True

    setup = Setup()
    timer = Timer("t", setup.log, incoming=[b"held"])
    setup.service.register(timer)
    setup.turn()

    assert setup.turn() == ["t poll"]


def test_the_selector_looks_again_after_every_use():
    selector = Ready()
    setup = Setup(selector=selector)
    venue = setup.venue("a")
    setup.turn()
    selector.updated.clear()

    setup.service.dispatch(venue.handle, lambda target, _: target.send(b"order"))

    assert selector.updated == [venue.handle]


def test_a_stream_that_its_user_closed_is_found_out():
    selector = Ready()
    setup = Setup(selector=selector)
    venue = setup.venue("a")
    venue.on_create = lambda: Numbered()
    venue.on_poll = lambda target, _: target.receive()
    setup.turn()
    selector.keys = []

    setup.service.dispatch(venue.handle, lambda target, _: target.close())
    setup.turn()

    assert isinstance(venue.reasons[0].error, StreamClosed)


class Numbered(ScriptedStream):
    """A stream with a descriptor until it is closed."""

    def fileno(self):
        return -1 if self.closed else 1000


def test_an_action_takes_the_place_of_the_endpoints_poll():
    setup = Setup()
    venue = setup.venue("a")
    seen = []

    work = setup.service.poll(lambda target, endpoint: seen.append((target, endpoint)))

    assert seen == [(venue.streams[0], venue)]
    assert setup.log == ["a create"]
    assert work == 2  # a connection and an action


def test_an_endpoint_without_poll_needs_an_action():
    class Bare(Endpoint):
        reasons = ()

        def create(self, address, context):
            return ScriptedStream()

        def can_recreate(self, reason, context):
            self.reasons += (reason,)
            return True

    setup = Setup()
    bare = Bare(ConnectionInfo("a", 1))
    setup.service.register(bare)

    setup.service.poll()

    assert isinstance(bare.reasons[0].error, NotImplementedError)
    assert "Bare must define poll" in str(bare.reasons[0])


def test_the_context_reaches_every_call():
    context = object()
    seen = []

    class Curious(Venue):
        def create(self, address, given):
            seen.append(("create", given))
            return super().create(address, given)

        def poll(self, target, given):
            seen.append(("poll", given))
            raise OSError

        def can_recreate(self, reason, given):
            seen.append(("can_recreate", given))
            return True

    setup = Setup(context=context)
    setup.service.register(Curious("a", setup.log))
    setup.turn()

    assert seen == [("create", context), ("poll", context), ("can_recreate", context)]


@pytest.mark.parametrize(("returned", "work"), [(None, 1), (0, 0), (7, 7)])
def test_the_turn_returns_how_much_was_done(returned, work):
    setup = Setup()
    venue = setup.venue("a")
    venue.on_poll = lambda *_: returned
    setup.turn()

    assert setup.service.poll() == work


def test_the_idle_strategy_learns_of_the_work():
    class Idle:
        def __init__(self):
            self.work = []

        def idle(self, work):
            self.work.append(work)

    idle = Idle()
    setup = Setup(idle=idle)
    setup.turn()
    venue = setup.venue("a")
    venue.on_poll = lambda *_: 0
    setup.turn()
    setup.turn()

    assert idle.work == [0, 1, 0]


def test_running_ends_when_it_is_told_to():
    setup = Setup()
    venue = setup.venue("a")
    turns = iter([False, False, True])

    setup.service.run(lambda: next(turns))
    assert setup.log == ["a create", "a poll", "a poll"]

    turns = iter([False, True])
    seen = []
    setup.service.run(lambda: next(turns), action=lambda t, e: seen.append(e))
    assert seen == [venue]


def test_an_endpoint_may_register_others_from_its_action():
    setup = Setup(connect_interval=0)
    venue = setup.venue("a")

    def spawn(*_):
        venue.on_poll = None
        setup.venue("b")

    venue.on_poll = spawn

    setup.turn()

    assert setup.pending() == ["b"]
    assert setup.turn() == ["b create", "a poll", "b poll"]


# -- dispatch ------------------------------------------------------------------------


def test_dispatch_acts_on_the_active_and_on_nobody_else():
    setup = Setup()
    venue = setup.venue("a")

    def send(target, endpoint):
        return (target.send(b"subscribe"), endpoint)

    assert setup.service.dispatch(venue.handle, send) is None
    assert setup.service.target(venue.handle) is None
    setup.turn()
    assert setup.service.dispatch(venue.handle, send) == (9, venue)
    assert bytes(venue.streams[0].sent) == b"subscribe"
    assert setup.service.dispatch(Handle(99), send) is None


def test_an_error_in_a_dispatch_is_the_callers_and_ends_nothing():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()

    with pytest.raises(KeyError):
        setup.service.dispatch(venue.handle, failing(KeyError()))
    assert venue.reasons == []
    assert setup.active() == ["a"]


def test_a_dispatch_may_deregister():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()

    setup.service.dispatch(
        venue.handle, lambda *_: setup.service.deregister(venue.handle)
    )

    assert setup.active() == []


# -- deregistration ------------------------------------------------------------------


def test_a_pending_endpoint_can_be_removed():
    setup = Setup()
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")
    setup.venue("b")

    assert setup.service.deregister(venue.handle) is venue
    assert setup.resolver.queries[0].cancelled
    assert setup.pending() == ["b"]
    assert setup.service.deregister(venue.handle) is None


def test_an_active_endpoint_can_be_removed_which_closes_its_stream():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()

    assert setup.service.deregister(venue.handle) is venue
    assert venue.streams[0].closed
    assert venue.reasons == []
    assert setup.turn(5) == []


def test_an_endpoint_may_remove_itself_and_others_while_acting():
    setup = Setup()
    a, b = connected_pair(setup)

    def leave(*_):
        setup.service.deregister(b.handle)
        setup.service.deregister(a.handle)

    a.on_poll = leave

    assert setup.turn() == ["a poll"]
    assert (setup.active(), setup.pending()) == ([], [])


def test_an_error_after_removing_oneself_is_not_swallowed():
    setup = Setup()
    a, _ = connected_pair(setup)
    error = OSError("after")

    def leave(*_):
        setup.service.deregister(a.handle)
        raise error

    a.on_poll = leave

    with pytest.raises(EndpointLost) as caught:
        setup.turn()
    assert caught.value.reason == Failed(error)
    assert setup.log == ["a poll", "b poll"]
    assert a.reasons == []


def test_closing_the_service_closes_everything():
    selector = Ready()
    setup = Setup(selector=selector)
    setup.resolver.waiting = {"c"}
    with setup.service:
        a, b = connected_pair(setup)
        setup.venue("c")
        a.streams[0].close = failing(OSError("cannot close"))
        with pytest.raises(OSError, match="cannot close"):
            setup.service.close()

    assert b.streams[0].closed
    assert setup.resolver.queries[2].cancelled
    assert selector.closed
    assert (setup.active(), setup.pending()) == ([], [])


# -- endings -------------------------------------------------------------------------


def test_an_action_that_raises_ends_the_connection_and_disturbs_nobody():
    setup = Setup()
    a, b = connected_pair(setup)
    error = ConnectionResetError("peer")
    a.on_poll = failing(error)

    assert setup.turn() == ["a poll", "b poll"]

    assert a.reasons == [Failed(error)]
    assert a.streams[0].closed
    assert not b.streams[0].closed
    assert (setup.active(), setup.pending()) == (["b"], ["a"])


def test_what_may_not_come_again_is_reported_after_all_had_their_turn():
    setup = Setup()
    a, _ = connected_pair(setup)
    a.recreate = False
    error = OSError("broken")
    a.on_poll = failing(error)

    with pytest.raises(EndpointLost) as caught:
        setup.turn()

    assert setup.log == ["a poll", "b poll"]
    assert caught.value.handle == a.handle
    assert caught.value.reason == Failed(error)
    assert caught.value.__cause__ is error
    assert setup.turn(5) == ["b poll"]


def test_several_lost_endpoints_are_reported_together():
    setup = Setup()
    a, b = connected_pair(setup)
    for venue in (a, b):
        venue.recreate = False
        venue.on_poll = failing(OSError(venue.name))

    with pytest.raises(EndpointLost, match="and 1 more in this turn") as caught:
        setup.turn()

    assert caught.value.handle == a.handle
    assert [handle for handle, _ in caught.value.others] == [b.handle]
    assert setup.turn(5) == []


def test_a_can_recreate_that_raises_loses_the_endpoint_and_says_why():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()
    venue.recreate = ValueError("bug")
    venue.on_poll = failing(OSError("broken"))

    with pytest.raises(EndpointLost) as caught:
        setup.turn()
    assert caught.value.reason == Failed(venue.recreate)
    assert venue.recreate.__notes__ == [
        "raised by can_recreate, asked after: OSError: broken"
    ]


def test_a_close_that_raises_is_noted_on_the_error_that_ended():
    setup = Setup()
    venue = setup.venue("a")
    setup.turn()
    error = OSError("broken")
    venue.on_poll = failing(error)
    venue.streams[0].close = failing(OSError("cannot close"))

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert error.__notes__ == ["closing it failed, too: OSError('cannot close')"]


def test_a_close_that_raises_after_the_ttl_is_the_failure():
    setup = Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    error = OSError("cannot close")
    venue.streams[0].close = failing(error)

    setup.turn(10)

    assert venue.reasons == [Failed(error)]


def test_a_target_that_cannot_be_used_nor_closed_is_noted():
    setup = Setup()
    venue = setup.venue("a")

    class Odd:
        def close(self):
            raise OSError("cannot close")

    venue.on_create = Odd
    setup.turn()

    (reason,) = venue.reasons
    assert reason.error.__notes__ == ["closing it failed, too: OSError('cannot close')"]


def test_interrupts_pass_through():
    setup = Setup()
    venue = setup.venue("a")
    venue.on_poll = failing(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        setup.turn()
    assert setup.active() == ["a"]


def test_an_endpoint_may_end_its_own_connection_by_a_timer():
    class Timer(Venue):
        every_turn = True

        def poll(self, target, context):
            if clock.monotonic_ns() >= 30 * 10**9:
                raise TimeoutError("daily restart")

    setup = Setup()
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
def test_a_connection_ends_after_its_time_to_live(ttl):
    setup = Setup(auto_disconnect=ttl)
    venue = setup.venue("a")
    setup.turn()

    assert setup.turn(59.999) == ["a poll"]
    assert setup.turn(0.001) == []
    assert venue.reasons == [AutoDisconnect(60.0)]
    assert venue.streams[0].closed
    assert setup.turn() == ["a create", "a poll"]


def test_the_time_to_live_starts_with_the_creation_and_is_monotonic():
    setup = Setup(auto_disconnect=60)
    venue = setup.venue("a", connecting=5)
    setup.turn()
    setup.clock.set_wall(0)

    setup.turn(60)

    assert venue.reasons == [AutoDisconnect(60.0)]


def test_an_endpoint_may_refuse_to_end_and_is_asked_again_after_a_further_ttl():
    setup = Setup(auto_disconnect=60)
    venue = setup.venue("a")
    setup.turn()
    venue.may_disconnect = False

    setup.turn(60)
    venue.may_disconnect = True
    setup.turn(59.999)
    assert venue.reasons == []
    setup.turn(0.001)
    assert venue.reasons == [AutoDisconnect(60.0)]


def test_each_connection_gets_a_time_of_its_own():
    times = iter([10, 20, 5])
    setup = Setup(auto_disconnect=lambda: next(times))
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


def test_a_supplier_that_raises_is_a_failure_of_that_connection():
    setup = Setup(auto_disconnect=failing(KeyError("no ttl")))
    venue = setup.venue("a")

    setup.turn()

    assert isinstance(venue.reasons[0].error, KeyError)
    assert venue.streams[0].closed


def test_a_can_auto_disconnect_that_raises_is_a_failure():
    setup = Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    venue.may_disconnect = ValueError("bug")

    setup.turn(10)

    assert venue.reasons == [Failed(venue.may_disconnect)]


def test_the_end_of_a_ttl_may_lose_the_endpoint():
    setup = Setup(auto_disconnect=10)
    venue = setup.venue("a")
    setup.turn()
    venue.recreate = False

    with pytest.raises(EndpointLost, match="auto disconnect after 10 s") as caught:
        setup.turn(10)
    assert caught.value.__cause__ is None


# -- deadlines -----------------------------------------------------------------------


class Quiet(Ready):
    """A selector that never has anything to report."""

    def poll(self, timeout=0.0):
        return []


class Alarm(Venue):
    """An endpoint that wants to act at `due`."""

    due = None

    def deadline(self, target):
        return self.due


def alarm(setup, due=None, **options):
    venue = Alarm("a", setup.log, **options)
    venue.due = due
    venue.handle = setup.service.register(venue)
    return venue


def seconds(setup):
    """Return how long a driver may wait, in seconds from now."""
    deadline = setup.service.deadline
    return None if deadline is None else (deadline - setup.clock.monotonic_ns()) / 1e9


def test_an_endpoint_acts_at_its_own_deadline_and_not_before():
    setup = Setup(selector=Quiet())
    venue = alarm(setup, due=5 * 10**9)
    venue.on_poll = lambda *_: setattr(venue, "due", venue.due + 3 * 10**9)
    setup.turn()

    assert setup.turn(4.999) == []
    assert setup.turn(0.001) == ["a poll"]
    assert setup.turn(2.999) == []
    assert setup.turn(0.001) == ["a poll"]


def test_of_several_deadlines_each_is_met():
    setup = Setup(selector=Quiet(), connect_interval=0)
    venues = [alarm(setup, due=due * 10**9) for due in (7, 3, 5)]
    for number, venue in enumerate(venues):
        venue.name = str(number)
        venue.on_poll = lambda *_, venue=venue: setattr(venue, "due", None)
        setup.turn()

    acted = [setup.turn(1) for _ in range(8)]

    assert acted == [[], [], ["1 poll"], [], ["2 poll"], [], ["0 poll"], []]


def test_a_deadline_that_moves_is_followed():
    setup = Setup(selector=Quiet())
    venue = alarm(setup, due=5 * 10**9)
    setup.turn()
    venue.due = 50 * 10**9
    setup.service.dispatch(venue.handle, lambda *_: None)

    assert setup.turn(5) == []
    assert setup.turn(45) == ["a poll"]


def test_a_deadline_past_and_ignored_is_every_turn():
    setup = Setup(selector=Quiet())
    alarm(setup, due=0)
    setup.turn()

    assert setup.turn() == ["a poll"]
    assert setup.turn() == ["a poll"]


def test_a_deadline_holds_while_connecting():
    setup = Setup(selector=Quiet())
    venue = alarm(setup, due=5 * 10**9, connecting=100)
    error = TimeoutError("my own limit")
    venue.on_poll = failing(error)
    setup.turn()
    setup.turn(4)
    assert venue.reasons == []

    setup.turn(1)

    assert venue.reasons == [Failed(error)]


def test_a_deadline_that_raises_is_a_failure_of_that_connection():
    setup = Setup()
    venue = setup.venue("a")
    error = ValueError("bug")
    venue.deadline = failing(error)

    setup.turn()

    assert venue.reasons == [Failed(error)]
    assert venue.streams[0].closed


def test_an_endpoint_takes_the_services_clock_unless_it_has_one():
    setup = Setup()
    mine = ManualClock()
    own = Venue("b")
    own.clock = mine
    venue = setup.venue("a")
    setup.service.register(own)

    assert venue.clock is setup.clock
    assert own.clock is mine


def test_a_driver_may_wait_for_ever_only_if_nothing_is_due():
    setup = Setup(selector=Quiet())
    assert seconds(setup) is None

    venue = Connected("a", setup.log)
    setup.service.register(venue)
    assert seconds(setup) == 0.001  # the look-up has not been polled yet
    setup.turn()
    assert seconds(setup) is None


def test_a_driver_waits_no_longer_than_until_the_next_moment():
    setup = Setup(selector=Quiet(), auto_disconnect=60, connect_timeout=10)
    setup.service.register(Connected("a", setup.log, connecting=2))
    setup.turn()
    assert seconds(setup) == 10

    alarm(setup, due=5 * 10**9)
    assert seconds(setup) == 1  # until the second connection may be made
    setup.turn(1)
    assert seconds(setup) == 0.001  # its stream has no descriptor


def test_look_ups_under_way_are_visited_until_they_time_out():
    setup = Setup(selector=Quiet(), dns_timeout=5)
    setup.resolver.waiting.add("a")
    setup.venue("a")
    setup.turn()
    assert seconds(setup) == 0.001

    setup.turn(5)  # failed, and asked again under the throttle
    assert seconds(setup) == 1


def test_a_look_up_times_out_though_no_connection_may_be_made_for_long():
    setup = Setup(selector=Quiet(), connect_interval=60, dns_timeout=5)
    setup.service.register(Connected("a", setup.log))
    setup.turn()
    setup.resolver.waiting.add("b")
    setup.venue("b")

    assert seconds(setup) == 5


def test_nothing_is_left_to_wait_for_when_an_endpoint_has_gone():
    setup = Setup(selector=Quiet(), auto_disconnect=60, connect_timeout=10)
    handles = [alarm(setup, due=5 * 10**9).handle]
    every = Venue("b", setup.log, incoming=[b"inside"])
    every.every_turn = True
    handles.append(setup.service.register(every))
    setup.turn()
    setup.turn(1)
    assert len(setup.active()) == 2

    for handle in handles:
        setup.service.deregister(handle)
    setup.turn(100)

    assert seconds(setup) is None


def test_bytes_inside_forbid_to_wait():
    setup = Setup(selector=Quiet())
    setup.service.register(Connected("a", setup.log, incoming=[b"x"]))
    setup.turn()

    assert seconds(setup) == 0


def test_what_is_asked_for_outside_a_turn_is_told_to_the_driver():
    setup = Setup(selector=Quiet())
    told = []
    setup.service.on_change = lambda: told.append(1)

    venue = setup.venue("a")
    assert len(told) == 1
    setup.turn()
    assert len(told) == 1
    setup.service.dispatch(venue.handle, lambda *_: None)
    assert len(told) == 2


class Connected(Venue):
    """An endpoint whose scripted stream claims to have a descriptor."""

    def create(self, address, context):
        stream = Numbered(**self.stream_options)
        self.streams.append(stream)
        return stream


def test_waiting_ends_when_something_is_ready_or_due():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        feed = Feed(ConnectionInfo("127.0.0.1", listener.getsockname()[1]))
        with IOService(EpollSelector(), resolver=StaticResolver({})) as service:
            service.wait(0)
            service.register(feed)
            service.run(lambda: service.target(Handle(1)) is not None, waiting=True)
            peer, _ = listener.accept()
            with peer:
                service.wait(0.001)
                peer.sendall(b"x")
                service.run(lambda: feed.got, waiting=True)

    assert feed.got == [b"x"]


# -- values --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"connect_interval": -1}, "connect_interval must not be negative"),
        ({"connect_timeout": 0}, "connect_timeout must be above 0 s, was 0"),
        ({"dns_timeout": -1}, "dns_timeout must be above 0 s, was -1"),
        ({"auto_disconnect": 0}, "time to live must be above 0 s, was 0"),
    ],
)
def test_times_that_make_no_sense_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        IOService(DirectSelector(), **options)


def test_a_service_prints_how_many_there_are():
    setup = Setup()
    setup.venue("a")
    setup.venue("b")
    setup.turn()

    assert repr(setup.service) == "<IOService 1 active, 1 pending>"


# -- over real sockets ---------------------------------------------------------------


class Feed(Endpoint):
    """Receives what a server on loopback sends."""

    def __init__(self, info):
        super().__init__(info)
        self.got = []
        self.reasons = []

    def create(self, address, context):
        return TcpStream.connect(self.info, address)

    def poll(self, target, context):
        data = target.receive()
        if data == b"":
            raise EOFError
        if data:
            self.got.append(data)

    def can_recreate(self, reason, context):
        self.reasons.append(reason)
        return True


def until(service, condition):
    for _ in range(10_000_000):
        if condition():
            return
        service.poll()
    raise AssertionError("it never happens")


@pytest.mark.parametrize(
    "selector",
    [EpollSelector, lambda: EpollSelector(portable=True), DirectSelector],
    ids=["epoll", "portable", "direct"],
)
def test_a_lost_connection_comes_back_under_the_same_handle(selector):
    clock = ManualClock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        feed = Feed(ConnectionInfo("venue.example", port))
        resolver = StaticResolver({"venue.example": ["127.0.0.1"]})
        with IOService(selector(), clock=clock, resolver=resolver) as service:
            handle = service.register(feed)
            for word in (b"one", b"two"):
                clock.advance(1)
                service.poll()
                assert service.target(handle) is not None
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(word)
                    until(service, lambda word=word: feed.got[-1:] == [word])
                until(service, lambda: service.target(handle) is None)

    assert feed.got == [b"one", b"two"]
    assert [type(reason.error) for reason in feed.reasons] == [EOFError, EOFError]


@pytest.mark.parametrize("selector", [EpollSelector, DirectSelector])
def test_a_refused_connection_does_not_look_pending_for_ever(selector):
    with reserved_port() as port, IOService(selector(), clock=ManualClock()) as service:
        feed = Feed(ConnectionInfo("127.0.0.1", port))
        service.register(feed)

        until(service, lambda: feed.reasons)

        assert isinstance(feed.reasons[0].error, ConnectError)
        assert [endpoint for _, endpoint in service.pending()] == [feed]


def test_plaintext_that_epoll_does_not_see_is_not_forgotten():
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = secure_context()
    authority.configure_trust(client_context)

    class Sipping(Feed):
        def create(self, address, context):
            return TlsStream(super().create(address, context), client_context)

        def poll(self, target, context):
            data = target.receive(3)
            if data:
                self.got.append(data)

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        IOService(EpollSelector(), clock=ManualClock()) as service,
    ):
        feed = Sipping(ConnectionInfo("127.0.0.1", listener.getsockname()[1]))
        service.register(feed)
        service.poll()
        accepted, _ = listener.accept()
        server = TlsStream(TcpStream.adopt(accepted), server_context, server_side=True)
        until(service, server.connected)
        server.send(b"one record that is read in many turns")
        until(service, lambda: len(b"".join(feed.got)) == 37)
        server.close()

    assert b"".join(feed.got) == b"one record that is read in many turns"
    assert len(feed.got) == 13
