"""What the tests of a service are made of: its clock, its names and its endpoints."""

from types import SimpleNamespace

import pytest

from netcore.clock import ManualClock
from netcore.info import Address, ConnectionInfo
from netcore.select import DirectSelector
from netcore.service import Endpoint, IOService
from netcore.testing import ScriptedStream

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


class Refused(ScriptedStream):
    """A stream whose connection is refused."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def connected(self):
        raise self.error


class Numbered(ScriptedStream):
    """A stream with a descriptor until it is closed."""

    def fileno(self):
        return -1 if self.closed else 1000


class Connected(Venue):
    """An endpoint whose scripted stream claims to have a descriptor."""

    def create(self, address, context):
        stream = Numbered(**self.stream_options)
        self.streams.append(stream)
        return stream


class Alarm(Venue):
    """An endpoint that wants to act at `due`."""

    due = None

    def deadline(self, target):
        return self.due


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


class Quiet(Ready):
    """A selector that never has anything to report."""

    def poll(self, timeout=0.0):
        return []


def failing(error):
    def fail(*_):
        raise error

    return fail


def connected_pair(setup):
    a, b = setup.venue("a"), setup.venue("b")
    setup.turn(1)
    setup.turn(1)
    return a, b


def alarm(setup, due=None, **options):
    venue = Alarm("a", setup.log, **options)
    venue.due = due
    venue.handle = setup.service.register(venue)
    return venue


def seconds(setup):
    """Return how long a driver may wait, in seconds from now."""
    deadline = setup.service.deadline
    return None if deadline is None else (deadline - setup.clock.monotonic_ns()) / 1e9


@pytest.fixture(scope="session")  # classes and functions: nothing to reset
def kit():
    return SimpleNamespace(
        ADDRESS=ADDRESS,
        ManualResolver=ManualResolver,
        Venue=Venue,
        Setup=Setup,
        Refused=Refused,
        Numbered=Numbered,
        Connected=Connected,
        Alarm=Alarm,
        Ready=Ready,
        Quiet=Quiet,
        failing=failing,
        connected_pair=connected_pair,
        alarm=alarm,
        seconds=seconds,
    )
