"""What happens in a turn of a service: who acts, and who leaves."""

import pytest

from netcore.errors import EndpointLost, StreamClosed
from netcore.info import ConnectionInfo
from netcore.service import Endpoint, Failed, Handle
from netcore.testing import ScriptedStream

# -- acting --------------------------------------------------------------------------


def test_only_those_act_that_are_ready(kit):
    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    _, b = kit.connected_pair(setup)

    selector.keys = []
    assert setup.turn() == []
    selector.keys = [b.handle]
    assert setup.turn() == ["b poll"]


def test_those_act_that_hold_bytes_whatever_the_selector_says(kit):
    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    a, _ = kit.connected_pair(setup)
    selector.keys = [a.handle]
    a.streams[0].feed(b"x", b"y")
    a.on_poll = lambda target, _: len(target.receive())
    assert setup.turn() == ["a poll"]

    selector.keys = []
    assert setup.turn() == ["a poll"]
    assert setup.turn() == []


def test_those_act_that_ask_for_every_turn(kit):
    class Timer(kit.Venue):
        every_turn = True

    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    setup.service.register(Timer("t", setup.log))
    setup.turn()

    selector.keys = []
    assert [setup.turn() for _ in range(3)] == [["t poll"]] * 3


def test_everybody_acts_once_a_turn_however_many_reasons_there_are(kit):
    class Timer(kit.Venue):
        every_turn = True

    setup = kit.Setup()
    timer = Timer("t", setup.log, incoming=[b"held"])
    setup.service.register(timer)
    setup.turn()

    assert setup.turn() == ["t poll"]


def test_the_selector_looks_again_after_every_use(kit):
    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    venue = setup.venue("a")
    setup.turn()
    selector.updated.clear()

    setup.service.dispatch(venue.handle, lambda target, _: target.send(b"order"))

    assert selector.updated == [venue.handle]


def test_a_stream_that_its_user_closed_is_found_out(kit):
    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    venue = setup.venue("a")
    venue.on_create = lambda: kit.Numbered()
    venue.on_poll = lambda target, _: target.receive()
    setup.turn()
    selector.keys = []

    setup.service.dispatch(venue.handle, lambda target, _: target.close())
    setup.turn()

    assert isinstance(venue.reasons[0].error, StreamClosed)


def test_an_action_takes_the_place_of_the_endpoints_poll(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    seen = []

    work = setup.service.poll(lambda target, endpoint: seen.append((target, endpoint)))

    assert seen == [(venue.streams[0], venue)]
    assert setup.log == ["a create"]
    assert work == 2  # a connection and an action


def test_an_endpoint_without_poll_needs_an_action(kit):
    class Bare(Endpoint):
        reasons = ()

        def create(self, address, context):
            return ScriptedStream()

        def can_recreate(self, reason, context):
            self.reasons += (reason,)
            return True

    setup = kit.Setup()
    bare = Bare(ConnectionInfo("a", 1))
    setup.service.register(bare)

    setup.service.poll()

    assert isinstance(bare.reasons[0].error, NotImplementedError)
    assert "Bare must define poll" in str(bare.reasons[0])


def test_the_context_reaches_every_call(kit):
    context = object()
    seen = []

    class Curious(kit.Venue):
        def create(self, address, given):
            seen.append(("create", given))
            return super().create(address, given)

        def poll(self, target, given):
            seen.append(("poll", given))
            raise OSError

        def can_recreate(self, reason, given):
            seen.append(("can_recreate", given))
            return True

    setup = kit.Setup(context=context)
    setup.service.register(Curious("a", setup.log))
    setup.turn()

    assert seen == [("create", context), ("poll", context), ("can_recreate", context)]


@pytest.mark.parametrize(("returned", "work"), [(None, 1), (0, 0), (7, 7)])
def test_the_turn_returns_how_much_was_done(returned, work, kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    venue.on_poll = lambda *_: returned
    setup.turn()

    assert setup.service.poll() == work


def test_the_idle_strategy_learns_of_the_work(kit):
    class Idle:
        def __init__(self):
            self.work = []

        def idle(self, work):
            self.work.append(work)

    idle = Idle()
    setup = kit.Setup(idle=idle)
    setup.turn()
    venue = setup.venue("a")
    venue.on_poll = lambda *_: 0
    setup.turn()
    setup.turn()

    assert idle.work == [0, 1, 0]


def test_running_ends_when_it_is_told_to(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    turns = iter([False, False, True])

    setup.service.run(lambda: next(turns))
    assert setup.log == ["a create", "a poll", "a poll"]

    turns = iter([False, True])
    seen = []
    setup.service.run(lambda: next(turns), action=lambda t, e: seen.append(e))
    assert seen == [venue]


def test_an_endpoint_may_register_others_from_its_action(kit):
    setup = kit.Setup(connect_interval=0)
    venue = setup.venue("a")

    def spawn(*_):
        venue.on_poll = None
        setup.venue("b")

    venue.on_poll = spawn

    setup.turn()

    assert setup.pending() == ["b"]
    assert setup.turn() == ["b create", "a poll", "b poll"]


# -- dispatch ------------------------------------------------------------------------


def test_dispatch_acts_on_the_active_and_on_nobody_else(kit):
    setup = kit.Setup()
    venue = setup.venue("a")

    def send(target, endpoint):
        return (target.send(b"subscribe"), endpoint)

    assert setup.service.dispatch(venue.handle, send) is None
    assert setup.service.target(venue.handle) is None
    setup.turn()
    assert setup.service.dispatch(venue.handle, send) == (9, venue)
    assert bytes(venue.streams[0].sent) == b"subscribe"
    assert setup.service.dispatch(Handle(99), send) is None


def test_an_error_in_a_dispatch_is_the_callers_and_ends_nothing(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()

    with pytest.raises(KeyError):
        setup.service.dispatch(venue.handle, kit.failing(KeyError()))
    assert venue.reasons == []
    assert setup.active() == ["a"]


def test_a_dispatch_may_deregister(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()

    setup.service.dispatch(
        venue.handle, lambda *_: setup.service.deregister(venue.handle)
    )

    assert setup.active() == []


# -- deregistration ------------------------------------------------------------------


def test_a_pending_endpoint_can_be_removed(kit):
    setup = kit.Setup()
    setup.resolver.waiting = {"a"}
    venue = setup.venue("a")
    setup.venue("b")

    assert setup.service.deregister(venue.handle) is venue
    assert setup.resolver.queries[0].cancelled
    assert setup.pending() == ["b"]
    assert setup.service.deregister(venue.handle) is None


def test_an_active_endpoint_can_be_removed_which_closes_its_stream(kit):
    setup = kit.Setup()
    venue = setup.venue("a")
    setup.turn()

    assert setup.service.deregister(venue.handle) is venue
    assert venue.streams[0].closed
    assert venue.reasons == []
    assert setup.turn(5) == []


def test_an_endpoint_may_remove_itself_and_others_while_acting(kit):
    setup = kit.Setup()
    a, b = kit.connected_pair(setup)

    def leave(*_):
        setup.service.deregister(b.handle)
        setup.service.deregister(a.handle)

    a.on_poll = leave

    assert setup.turn() == ["a poll"]
    assert (setup.active(), setup.pending()) == ([], [])


def test_an_error_after_removing_oneself_is_not_swallowed(kit):
    setup = kit.Setup()
    a, _ = kit.connected_pair(setup)
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


def test_closing_the_service_closes_everything(kit):
    selector = kit.Ready()
    setup = kit.Setup(selector=selector)
    setup.resolver.waiting = {"c"}
    with setup.service:
        a, b = kit.connected_pair(setup)
        setup.venue("c")
        a.streams[0].close = kit.failing(OSError("cannot close"))
        with pytest.raises(OSError, match="cannot close"):
            setup.service.close()

    assert b.streams[0].closed
    assert setup.resolver.queries[2].cancelled
    assert selector.closed
    assert (setup.active(), setup.pending()) == ([], [])
