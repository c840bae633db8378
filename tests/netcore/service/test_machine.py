"""Whatever happens to its endpoints, in any order, a service keeps its promises."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from netcore.clock import NANOSECONDS, ManualClock
from netcore.endpoint import Endpoint
from netcore.errors import EndpointLost, ResolveError
from netcore.info import Address, ConnectionInfo
from netcore.select import DirectSelector
from netcore.service import IOService
from netcore.testing import ScriptedStream

INTERVAL = 1.0
TTL = 20.0
CONNECT_TIMEOUT = 4.0
DNS_TIMEOUT = 3.0
ADDRESS = Address("192.0.2.1", 443)

MISHAPS = st.sampled_from(
    ["nothing", "create raises", "not now", "poll raises", "slow", "user closes"]
)
LOOK_UPS = st.sampled_from(["answers", "fails", "waits", "is empty", "raises"])


class Venue(Endpoint):
    """An endpoint that does what the machine wants next."""

    def __init__(self, number, machine):
        super().__init__(ConnectionInfo(f"v{number}", 443))
        self.machine = machine
        self.mishap = "nothing"
        self.look_up = "answers"
        self.again = True
        self.may_end = True
        self.streams = []
        self.acted = 0

    def create(self, address, context):
        self.machine.attempts.append(self.machine.clock.monotonic_ns())
        if self.mishap == "create raises":
            raise OSError("create")
        if self.mishap == "not now":
            return None
        stream = ScriptedStream(connecting=10**9 if self.mishap == "slow" else 0)
        self.streams.append(stream)
        return stream

    def poll(self, target, context):
        assert target is self.streams[-1], "an old connection acts"
        assert not target.closed or self.mishap == "user closes"
        self.acted += 1
        if self.mishap == "poll raises":
            raise KeyError("poll")
        if self.mishap == "user closes":
            target.close()
            target.receive()  # raises StreamClosed

    def can_recreate(self, reason, context):
        assert str(reason)
        return self.again

    def can_auto_disconnect(self, context):
        return self.may_end


class Query:
    def __init__(self, venue):
        self.venue = venue

    def poll(self):
        match self.venue.look_up:
            case "answers":
                return [ADDRESS]
            case "is empty":
                return []
            case "fails":
                raise ResolveError("no such name")
            case _:
                return None

    def cancel(self):
        pass


class Machine(RuleBasedStateMachine):
    """Also a resolver, so that it decides what every name brings."""

    def __init__(self):
        super().__init__()
        self.clock = ManualClock()
        self.attempts = []
        self.venues = {}  # handle -> endpoint: those that have to be there
        self.gone = []
        self.made = 0
        self.service = IOService(
            DirectSelector(),
            clock=self.clock,
            resolver=self,
            auto_disconnect=TTL,
            dns_timeout=DNS_TIMEOUT,
            connect_interval=INTERVAL,
            connect_timeout=CONNECT_TIMEOUT,
        )

    def query(self, host, port):
        venue = next(
            v for v in [*self.venues.values(), self.new] if v and v.info.host == host
        )
        if venue.look_up == "raises":
            raise ValueError("no resolver")
        return Query(venue)

    def report(self, host, address, error):
        pass

    new = None

    @rule()
    def register(self):
        if len(self.venues) < 5:
            self.made += 1
            self.new = Venue(self.made, self)
            handle = self.service.register(self.new)
            assert handle not in self.venues
            self.venues[handle] = self.new
            self.new = None

    def pick(self, data):
        return data.draw(st.sampled_from(sorted(self.venues))) if self.venues else None

    @rule(data=st.data(), mishap=MISHAPS, look_up=LOOK_UPS, again=st.booleans())
    def change(self, data, mishap, look_up, again):
        handle = self.pick(data)
        if handle is not None:
            venue = self.venues[handle]
            venue.mishap, venue.look_up = mishap, look_up
            venue.again = again or data.draw(st.booleans())
            venue.may_end = data.draw(st.booleans())

    @rule(data=st.data())
    def deregister(self, data):
        handle = self.pick(data)
        if handle is not None:
            venue = self.venues.pop(handle)
            assert self.service.deregister(handle) is venue
            assert self.service.deregister(handle) is None
            self.gone.append(venue)

    @rule(seconds=st.sampled_from([0.0, 0.4, 1.0, 3.0, 5.0, 25.0]))
    def turn(self, seconds):
        self.clock.advance(seconds)
        before = {handle: venue.acted for handle, venue in self.venues.items()}
        attempts = len(self.attempts)
        lost = []
        try:
            self.service.poll()
        except EndpointLost as exc:
            lost = [exc.handle, *(handle for handle, _ in exc.others)]
        assert len(self.attempts) - attempts <= 1
        assert all(not self.venues[handle].again for handle in lost)
        assert len(lost) == len(set(lost))
        for handle in lost:
            self.gone.append(self.venues.pop(handle))
        for handle, _, venue in self.service.active():
            connected = venue.mishap != "slow" and venue.streams[-1].connected()
            assert venue.acted == before[handle] + connected or venue.mishap == "slow"

    @invariant()
    def every_endpoint_is_in_one_place(self):
        active = [handle for handle, _, _ in self.service.active()]
        pending = [handle for handle, _ in self.service.pending()]

        assert sorted(active + pending) == sorted(self.venues)

    @invariant()
    def connections_are_closed_but_the_active_ones(self):
        active = {id(target) for _, target, _ in self.service.active()}
        for venue in [*self.venues.values(), *self.gone]:
            for stream in venue.streams:
                assert stream.closed != (id(stream) in active)

    @invariant()
    def attempts_keep_their_distance(self):
        gaps = [b - a for a, b in zip(self.attempts, self.attempts[1:], strict=False)]

        assert all(gap >= INTERVAL * NANOSECONDS for gap in gaps)

    @invariant()
    def a_driver_knows_when_to_come_back(self):
        deadline = self.service.deadline
        if any(self.service.pending()):
            assert deadline is not None
            assert deadline <= self.clock.monotonic_ns() + INTERVAL * NANOSECONDS

    def teardown(self):
        self.service.close()
        for venue in [*self.venues.values(), *self.gone]:
            assert all(stream.closed for stream in venue.streams)


TestService = Machine.TestCase
TestService.settings = settings(max_examples=60, stateful_step_count=40)
