"""Two sessions wired back to back, over connections that fail in every way.

Whatever is cut, lost, garbled or restarted: in the end each side has got what the other
sent, in order and once.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netcore.clock import to_ns
from netcore.fix import (
    FileStore,
    FixSession,
    MemoryStore,
    Message,
    ResentMessage,
    Role,
    SessionConfig,
    SessionState,
    dictionary,
)

START = 1_723_118_400_000_000_000


class Side:
    """A session, its store, and what it sent and got."""

    def __init__(self, role, store, name, other):
        self.config = SessionConfig(
            begin_string="FIX.4.4",
            sender_comp_id=name,
            target_comp_id=other,
            role=role,
            heartbeat_interval=30,
        )
        self.store = store
        self.sent: list[bytes] = []
        self.got: list[Message] = []
        self.inbox = b""
        self.restart()

    def restart(self):
        """A new process over the same store."""
        self.session = FixSession(
            self.config, self.store, dictionary=dictionary("FIX.4.4")
        )
        self.inbox = b""

    def take(self, events):
        self.got += [event for event in events if isinstance(event, Message)]


class Wire:
    """The connection between an initiator and an acceptor."""

    def __init__(self, stores):
        self.now = START
        self.sides = (
            Side(Role.INITIATOR, stores[0], "US", "THEM"),
            Side(Role.ACCEPTOR, stores[1], "THEM", "US"),
        )
        self.up = False

    def connect(self):
        if self.up:
            return
        for side in self.sides:
            side.inbox = b""
            side.session.connect(self.now)
        self.up = True

    def lose(self):
        """The connection breaks; what is under way is lost."""
        if not self.up:
            return
        self.up = False
        for side in self.sides:
            side.inbox = b""
            side.take(side.session.feed_eof(self.now))

    def send(self, who):
        side = self.sides[who]
        if side.session.state is SessionState.ACTIVE:
            text = b"%d" % len(side.sent)
            side.session.send("B", [(148, text), (33, b"1"), (58, text)], now=self.now)
            side.sent.append(text)

    def move(self, who, most):
        """Bring at most `most` bytes from one side to the other."""
        side, other = self.sides[who], self.sides[1 - who]
        if not self.up:
            return
        other.inbox += side.session.to_send()
        data, other.inbox = other.inbox[:most], other.inbox[most:]
        if data:
            other.take(other.session.feed(data, self.now))
        self.look()

    def garble(self, who, place, change):
        """Change a byte that is under way."""
        side = self.sides[who]
        if side.inbox:
            data = bytearray(side.inbox)
            data[place % len(data)] ^= change
            side.inbox = bytes(data)

    def pass_time(self, seconds):
        self.now += to_ns(seconds)
        for side in self.sides:
            deadline = side.session.next_deadline
            if deadline is not None and deadline <= self.now:
                side.take(side.session.tick(self.now))
        self.look()

    def look(self):
        """A side that has ended closes the connection once its last words are out."""
        if self.up and any(side.session.closed for side in self.sides):
            for side, other in (self.sides, self.sides[::-1]):
                if side.session.closed and not other.session.closed:
                    last = other.inbox + side.session.to_send(1 << 30)
                    other.take(other.session.feed(last, self.now))
            self.lose()

    def restart(self, who, *, planned):
        side = self.sides[who]
        if planned:
            side.session.commit()
        self.lose_without(who)
        side.restart()

    def lose_without(self, who):
        """The connection breaks because one side's process is gone."""
        if self.up:
            self.up = False
            other = self.sides[1 - who]
            other.inbox = b""
            other.take(other.session.feed_eof(self.now))

    def settle(self):
        """Let everything come to rest."""
        for _ in range(200):
            self.connect()
            for _ in range(50):
                before = [len(side.got) for side in self.sides]
                for who in (0, 1):
                    self.move(who, 1 << 30)
                quiet = not any(side.session.has_to_send for side in self.sides)
                if quiet and before == [len(side.got) for side in self.sides]:
                    break
            if self.up and all(self.settled(who) for who in (0, 1)):
                return
            self.pass_time(4)

    def settled(self, who):
        """Whether one side is logged on and all it sent has arrived."""
        side, other = self.sides[who], self.sides[1 - who]
        return (
            side.session.state is SessionState.ACTIVE
            and [message[58] for message in other.got] == side.sent
        )


ACTIONS = st.one_of(
    st.tuples(st.just("connect")),
    st.tuples(st.just("lose")),
    st.tuples(st.just("send"), st.integers(0, 1)),
    st.tuples(st.just("send"), st.integers(0, 1)),
    st.tuples(st.just("move"), st.integers(0, 1), st.integers(1, 400)),
    st.tuples(st.just("move"), st.integers(0, 1), st.just(1 << 30)),
    st.tuples(st.just("pass_time"), st.integers(1, 40)),
)
RESTARTS = st.one_of(ACTIONS, st.tuples(st.just("restart"), st.integers(0, 1)))
NOISE = st.one_of(
    ACTIONS,
    st.tuples(
        st.just("garble"), st.integers(0, 1), st.integers(0, 999), st.integers(1, 255)
    ),
)


def run(wire, actions, **options):
    for name, *arguments in actions:
        getattr(wire, name)(*arguments, **(options if name == "restart" else {}))
    wire.settle()


def assert_all_arrived_once(wire):
    for who in (0, 1):
        assert [m[58] for m in wire.sides[1 - who].got] == wire.sides[who].sent
        assert wire.sides[who].session.state is SessionState.ACTIVE


@given(st.lists(ACTIONS, max_size=40))
def test_lost_connections_lose_and_double_nothing(actions):
    wire = Wire([MemoryStore(), MemoryStore()])
    run(wire, actions)

    assert_all_arrived_once(wire)


@given(st.lists(RESTARTS, max_size=40))
def test_planned_restarts_lose_and_double_nothing(actions):
    wire = Wire([MemoryStore(), MemoryStore()])
    run(wire, actions, planned=True)

    assert_all_arrived_once(wire)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RESTARTS, max_size=25))
def test_restarts_over_files_lose_and_double_nothing(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("stores")

    class Reopened(Wire):
        def restart(self, who, *, planned):
            super().restart(who, planned=planned)
            side = self.sides[who]
            side.store.close()
            side.store = FileStore(side.store.path)
            side.restart()

    wire = Reopened([FileStore(folder / "us"), FileStore(folder / "them")])
    run(wire, actions, planned=True)

    assert_all_arrived_once(wire)
    for side in wire.sides:
        side.store.close()


@given(st.lists(RESTARTS, max_size=40))
def test_crashes_lose_nothing_and_what_comes_twice_says_so(actions):
    wire = Wire([MemoryStore(), MemoryStore()])
    for name, *arguments in actions:
        getattr(wire, name)(
            *arguments, **({"planned": False} if name == "restart" else {})
        )
    for side in wire.sides:
        side.session.commit()
    # Whoever crashed may have got the last messages before; take them out to settle.
    for who in (0, 1):
        seen: list[Message] = []
        for message in wire.sides[who].got:
            if message[58] in [other[58] for other in seen]:
                assert isinstance(message, ResentMessage)
            else:
                seen.append(message)
        wire.sides[who].got = seen
    wire.settle()

    for who in (0, 1):
        firsts = list(dict.fromkeys(m[58] for m in wire.sides[1 - who].got))
        assert firsts == wire.sides[who].sent


@given(st.lists(NOISE, max_size=40))
def test_noise_on_the_line_loses_and_doubles_nothing(actions):
    wire = Wire([MemoryStore(), MemoryStore()])
    run(wire, actions)

    assert_all_arrived_once(wire)


@pytest.mark.parametrize("who", [0, 1])
def test_a_logout_ends_both_sides_in_order(who):
    wire = Wire([MemoryStore(), MemoryStore()])
    wire.settle()
    wire.sides[who].session.logout("bye", now=wire.now)
    for turn in (who, 1 - who):
        wire.move(turn, 1 << 30)

    assert all(side.session.closed for side in wire.sides)
