import errno
import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.clock import ManualClock
from netcore.dns import (
    MAX_ADDRESSES,
    BlockingResolver,
    RoundRobin,
    StaticResolver,
    ThreadResolver,
    resolve,
)
from netcore.errors import ResolveError
from netcore.info import Address

A, B, C = Address("192.0.2.1", 1), Address("192.0.2.2", 1), Address("192.0.2.3", 1)
GUARD_SECONDS = 60  # against hanging; nothing asserts a duration
SIX = Address("2001:db8::1", 1)


class Table:
    """Looks up in a table and notes by whom it was asked."""

    def __init__(self, table: dict[str, list[Address] | Exception]) -> None:
        self.table = table
        self.threads: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.threads.append(threading.current_thread().name)
        answer = self.table[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


# -- resolve -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", Address("127.0.0.1", 80)), ("::1", Address("::1", 80))],
)
def test_numeric_hosts_resolve_to_themselves(host, expected):
    assert resolve(host, 80) == [expected]


def test_localhost_resolves_to_loopback():
    assert {a.host for a in resolve("localhost", 80)} <= {"127.0.0.1", "::1"}


def test_an_impossible_name_is_a_resolve_error():
    with pytest.raises(ResolveError, match="cannot resolve"):
        resolve("a" * 64 + ".invalid", 80)


def test_the_systems_error_is_kept(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    with pytest.raises(ResolveError, match="'a': Name or service") as caught:
        resolve("a", 1)
    assert caught.value.errno == socket.EAI_NONAME
    assert isinstance(caught.value.__cause__, socket.gaierror)


def test_answers_are_unique_in_order_bounded_and_scoped(monkeypatch):
    many = [f"10.0.0.{i}" for i in range(100)]
    answer = [
        (socket.AF_INET6, 0, 0, "", ("fe80::1%eth0", 1, 0, 7)),
        (socket.AF_INET, 0, 0, "", ("10.0.0.0", 1)),
        (socket.AF_UNIX, 0, 0, "", "nonsense"),
        *[(socket.AF_INET, 0, 0, "", (host, 1)) for host in many],
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answer)

    found = resolve("a", 1)

    assert found[0] == Address("fe80::1", 1, 7)
    assert [a.host for a in found[1:]] == many[: MAX_ADDRESSES - 1]


def test_an_answer_without_addresses_is_a_resolve_error(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [])

    with pytest.raises(ResolveError, match="neither an IPv4 nor an IPv6"):
        resolve("a", 1)


# -- blocking and static -------------------------------------------------------------


def test_the_blocking_resolver_asks_once_and_not_before_the_poll():
    table = Table({"a": [A]})
    query = BlockingResolver(table).query("a", 1)

    assert table.threads == []
    assert query.poll() == [A]
    assert query.poll() == [A]
    assert len(table.threads) == 1


def test_a_failure_is_the_querys_outcome_every_time():
    query = BlockingResolver(Table({"a": ResolveError("gone")})).query("a", 1)

    for _ in range(2):
        with pytest.raises(ResolveError, match="gone"):
            query.poll()


def test_an_unforeseen_error_becomes_a_resolve_error_with_its_cause():
    query = BlockingResolver(Table({})).query("a", 1)

    with pytest.raises(ResolveError, match="cannot resolve 'a': KeyError") as caught:
        query.poll()
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_static_resolver_answers_from_its_table():
    resolver = StaticResolver({"Venue.example": ["192.0.2.1", "2001:db8::1"]})

    assert resolver.query("venue.EXAMPLE", 1).poll() == [A, SIX]
    assert resolver.query("192.0.2.2", 1).poll() == [B]
    with pytest.raises(ResolveError, match="'other' is not in the table"):
        resolver.query("other", 1).poll()


# -- thread --------------------------------------------------------------------------


class Gate:
    """A look-up that waits until it is let through."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        self.begun.set()
        assert self.open.wait(GUARD_SECONDS)
        return [Address("192.0.2.1", port)]


def answer_of(query):
    """Poll until the thread has answered."""
    for _ in range(10_000_000):
        found = query.poll()
        if found is not None:
            return found
        os.sched_yield()
    raise AssertionError("the thread never answers")


def test_the_thread_resolver_never_blocks_the_caller():
    gate = Gate()
    with ThreadResolver(resolve=gate) as resolver:
        query = resolver.query("a", 1)

        assert gate.begun.wait(GUARD_SECONDS)
        assert query.poll() is None
        gate.open.set()
        assert answer_of(query) == [A]


def test_the_thread_survives_failed_look_ups():
    table = Table({"bad": ResolveError("gone"), "good": [A]})
    with ThreadResolver(resolve=table) as resolver:
        for bad in ("bad", "not in the table"):
            with pytest.raises(ResolveError):
                answer_of(resolver.query(bad, 1))

        assert answer_of(resolver.query("good", 1)) == [A]
    assert set(table.threads) == {"netcore-dns"}


def test_a_cancelled_query_is_not_looked_up():
    gate = Gate()
    with ThreadResolver(resolve=gate) as resolver:
        first = resolver.query("first", 1)
        assert gate.begun.wait(GUARD_SECONDS)
        resolver.query("second", 1).cancel()
        third = resolver.query("third", 1)

        gate.open.set()
        answer_of(first)
        answer_of(third)

    assert gate.asked == ["first", "third"]


def test_too_many_waiting_queries_fail_instead_of_piling_up():
    gate = Gate()
    with ThreadResolver(resolve=gate) as resolver:
        resolver.query("first", 1)
        assert gate.begun.wait(GUARD_SECONDS)
        waiting = [resolver.query("more", 1) for _ in range(256)]

        with pytest.raises(ResolveError, match="256 look-ups wait already"):
            resolver.query("too many", 1).poll()
        gate.open.set()
        assert answer_of(waiting[-1]) == [A]


def test_closing_fails_what_waits_and_what_comes_later():
    gate = Gate()
    resolver = ThreadResolver(resolve=gate)
    resolver.query("first", 1)
    assert gate.begun.wait(GUARD_SECONDS)
    waiting = resolver.query("waiting", 1)

    assert not resolver.close(timeout=0)
    with pytest.raises(ResolveError, match="resolver closed"):
        waiting.poll()
    with pytest.raises(ResolveError, match="resolver closed"):
        resolver.query("later", 1).poll()
    gate.open.set()
    assert resolver.close(timeout=GUARD_SECONDS)


def test_closing_before_the_first_query_is_done_at_once():
    assert ThreadResolver().close()


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="no processor affinity here"
)
def test_the_thread_runs_on_its_processor():
    cpu = max(os.sched_getaffinity(0))
    seen = []

    def look_up(host, port):
        seen.append(os.sched_getaffinity(0))
        return [A]

    with ThreadResolver(cpu, resolve=look_up) as resolver:
        answer_of(resolver.query("a", 1))

    assert seen == [{cpu}]
    assert cpu in os.sched_getaffinity(0)


def test_a_processor_that_is_not_ours_is_refused():
    with pytest.raises(ValueError, match="was 100000"):
        ThreadResolver(100_000)


# -- round robin ---------------------------------------------------------------------


def firsts(resolver, times: int) -> list[Address]:
    return [resolver.query("a", 1).poll()[0] for _ in range(times)]


def test_each_attempt_gets_the_next_address():
    resolver = RoundRobin(BlockingResolver(Table({"a": [A, B, C]})))

    assert firsts(resolver, 7) == [A, B, C, A, B, C, A]


def test_a_query_polled_twice_is_one_attempt():
    resolver = RoundRobin(BlockingResolver(Table({"a": [A, B]})))
    query = resolver.query("a", 1)

    assert query.poll() == query.poll() == [A, B]
    assert firsts(resolver, 1) == [B]


def test_hosts_rotate_apart():
    resolver = RoundRobin(BlockingResolver(Table({"a": [A, B], "b": [A, B]})))

    assert firsts(resolver, 1) == [A]
    assert resolver.query("b", 1).poll()[0] == A


def test_a_server_that_rotates_itself_does_not_repeat_addresses():
    table = Table({"a": [A, B, C]})
    resolver = RoundRobin(BlockingResolver(table))
    seen = []
    for answer in ([A, B, C], [B, C, A], [C, A, B]):
        table.table["a"] = answer
        seen += firsts(resolver, 1)

    assert sorted(seen, key=str) == [A, B, C]


def test_an_address_is_not_overtaken_by_others_that_come_and_go():
    resolver = RoundRobin(StaticResolver({}))
    answers = [[A, C], [B, C]] * 3

    first = [resolver.rotate("a", answer)[0] for answer in answers]

    assert first == [A, C, A, B, C, B]


def test_changing_answers_do_not_pile_up():
    resolver = RoundRobin(StaticResolver({}))
    for number in range(10 * MAX_ADDRESSES):
        always = Address("192.0.2.1", 1)
        resolver.rotate("a", [Address(f"198.51.100.{number % 250}", number), always])
        resolver.rotate("a", [Address(f"203.0.113.{number % 250}", number)])

    assert len(resolver._used["a"]) <= 4 * MAX_ADDRESSES + 2


@given(
    st.lists(
        st.permutations([A, B, C, SIX]).flatmap(
            lambda order: st.integers(1, 4).map(lambda n: order[:n])
        ),
        min_size=1,
        max_size=20,
    )
)
def test_no_address_waits_longer_than_the_answer_is_long(answers):
    resolver = RoundRobin(StaticResolver({}))
    waited: dict[Address, int] = {}
    for answer in answers:
        first, *rest = resolver.rotate("a", answer)
        assert sorted([first, *rest], key=str) == sorted(answer, key=str)
        waited = {a: waited.get(a, 0) + 1 for a in rest}
        assert all(turns <= 4 + 3 for turns in waited.values())


def test_an_unreachable_family_comes_last_for_a_while():
    clock = ManualClock()
    table = Table({"a": [SIX, A, B]})
    resolver = RoundRobin(BlockingResolver(table), clock=clock, retry_family=60)

    resolver.report("a", SIX, OSError(errno.ENETUNREACH, "unreachable"))

    assert firsts(resolver, 4) == [A, B, A, B]
    clock.advance(60)
    assert firsts(resolver, 1) == [SIX]


def test_an_unreachable_family_is_still_used_where_there_is_no_other():
    resolver = RoundRobin(BlockingResolver(Table({"a": [SIX]})))
    resolver.report("a", SIX, OSError(errno.ENETUNREACH, "unreachable"))

    assert firsts(resolver, 1) == [SIX]


def test_a_refused_connection_says_nothing_about_the_family():
    resolver = RoundRobin(BlockingResolver(Table({"a": [SIX, A]})))
    resolver.report("a", SIX, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))

    assert firsts(resolver, 2) == [SIX, A]


def test_a_family_that_works_again_is_forgiven_at_once():
    resolver = RoundRobin(BlockingResolver(Table({"a": [SIX, A]})))
    resolver.report("a", SIX, OSError(errno.ENETUNREACH, "unreachable"))
    resolver.report("a", SIX, None)

    assert firsts(resolver, 1) == [SIX]


def test_rotation_passes_waiting_failure_and_cancelling_on():
    gate = Gate()
    with ThreadResolver(resolve=gate) as inner:
        resolver = RoundRobin(inner)
        query = resolver.query("a", 1)
        assert query.poll() is None
        cancelled = resolver.query("b", 1)
        cancelled.cancel()
        gate.open.set()
        assert answer_of(query) == [A]

    with pytest.raises(ResolveError):
        RoundRobin(StaticResolver({})).query("a", 1).poll()
    assert "b" not in gate.asked


def test_an_empty_answer_stays_empty():
    assert RoundRobin(StaticResolver({})).rotate("a", []) == []
