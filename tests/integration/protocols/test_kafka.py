"""Against librdkafka's own mock cluster, which speaks the real protocol."""

import msgspec
import pytest
import trio

from integration.errors import (
    Broker,
    DeserialiseBinary,
    DnsError,
    LocalError,
    Subscribe,
    TlsError,
    Unauthorised,
    Unsupported,
)
from integration.protocols.kafka import (
    CommitWhen,
    KafkaParser,
    KafkaRecord,
    KafkaRecordParser,
    KafkaSource,
    broker_error,
)
from integration.stream import ExchangeStream
from netcore.clock import ManualClock

kafka = pytest.importorskip(
    "confluent_kafka", reason="confluent-kafka is not installed"
)

INTS = msgspec.json.Decoder(int)


@pytest.fixture(scope="module")
def cluster():
    """The addresses of a mock cluster, alive as long as its producer."""
    producer = kafka.Producer({"test.mock.num.brokers": 3, "log_level": 0})
    brokers = producer.list_topics(timeout=10).brokers.values()
    yield producer, ",".join(f"{b.host}:{b.port}" for b in brokers)
    producer.flush(1)


class Topic:
    """A topic of its own for each test, with a group that reads it."""

    def __init__(self, cluster, name):
        self.producer, self.servers = cluster
        self.name = name

    def produce(self, *values, partition=0, key=None):
        for value in values:
            data = value if value is None else str(value).encode()
            self.producer.produce(self.name, data, key, partition=partition)
        self.producer.flush(10)

    def config(self, **more):
        return {
            "bootstrap.servers": self.servers,
            "group.id": f"group-of-{self.name}",
            "auto.offset.reset": "earliest",
            "log_level": 0,
            **more,
        }

    async def read(self, *, start=0, **options):
        places = [(self.name, 0, start)]
        return await KafkaSource.open(self.config(), partitions=places, **options)


@pytest.fixture
def topic(cluster, request):
    return Topic(cluster, request.node.name.replace("[", "-").strip("]")[:100])


COMMITTED = -1001


async def values(source, count):
    parser = KafkaParser(INTS)
    got = []
    while len(got) < count:
        got += parser.parse_batch(await source.read_batch())
    return got


async def test_messages_come_in_batches_in_order(topic):
    topic.produce(*range(500))
    async with await topic.read(batch_size=200, clock=ManualClock(now_ns=7)) as source:
        batches = []
        while sum(len(b.frames) for b in batches) < 500:
            batches.append(await source.read_batch())

    parser = KafkaParser(INTS)
    assert [v for b in batches for v in parser.parse_batch(b)] == list(range(500))
    assert max(len(b.frames) for b in batches) <= 200
    assert {b.timestamp_ns for b in batches} == {7}


async def test_it_feeds_an_exchange_stream(topic):
    class Double:
        def transform(self, message, time_received):
            return (message * 2,)

    topic.produce(1, 2, "no", 3)
    async with await topic.read() as source:
        stream = ExchangeStream(source, KafkaParser(INTS), Double())
        got = [await anext(stream) for _ in range(4)]

    assert [got[0], got[1], got[3]] == [2, 4, 6]
    assert isinstance(got[2], DeserialiseBinary)
    assert got[2].payload == b"no"


async def test_records_keep_their_place_and_tombstones(topic):
    topic.produce(7, key=b"k")
    topic.produce(None, key=b"gone")
    async with await topic.read() as source:
        records = []
        while len(records) < 2:
            batch = await source.read_batch()
            records += KafkaRecordParser(INTS).parse_batch(batch)
            plain = KafkaParser(INTS).parse_batch(batch)

    first, second = records
    assert first == KafkaRecord(topic.name, 0, 0, b"k", 7, first.timestamp_ms)
    assert first.timestamp_ms > 1_600_000_000_000
    assert (second.key, second.value, second.offset) == (b"gone", None, 1)
    assert None not in plain


async def test_what_was_processed_does_not_come_again_and_the_rest_does(topic):
    topic.produce(*range(10))
    async with await topic.read(batch_size=4) as source:
        first = await values(source, 4)
        second = await values(source, 4)  # asking for these processed the first

    async with await topic.read(start=COMMITTED) as source:
        again = await values(source, 6)

    assert first == [0, 1, 2, 3]
    assert second == [4, 5, 6, 7]
    assert again == [4, 5, 6, 7, 8, 9]


async def test_what_was_handed_out_only_comes_again_after_a_crash(topic):
    topic.produce(*range(5))
    source = await topic.read()
    await values(source, 5)
    await source.aclose()  # nothing was asked for after the batch: it is not processed

    async with await topic.read(start=COMMITTED) as source:
        assert await values(source, 5) == [0, 1, 2, 3, 4]


async def test_processing_can_be_declared(topic):
    topic.produce(*range(4))
    async with await topic.read(commit=CommitWhen.EXPLICIT, batch_size=2) as source:
        await values(source, 2)
        source.processed()
        await values(source, 2)
        await source.commit()

    async with await topic.read(start=COMMITTED) as source:
        assert await values(source, 2) == [2, 3]


async def test_commits_happen_while_reading(topic):
    topic.produce(1)
    async with await topic.read(commit_interval=0.0) as source:
        await values(source, 1)
        heard, take = trio.Event(), source._reports.take_commits
        token = trio.lowlevel.current_trio_token()

        def listen():
            if commits := take():
                trio.from_thread.run_sync(heard.set, trio_token=token)
            return commits

        source._reports.take_commits = listen
        # The next read processes, begins the commit and hears of its success.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.read_batch)
            with trio.fail_after(120):
                await heard.wait()
            nursery.cancel_scope.cancel()
        other = await topic.read(start=COMMITTED)
        topic.produce(2)
        assert await values(other, 1) == [2]
        await other.aclose()


async def test_a_cancelled_read_loses_nothing(topic):
    got = []
    async with await topic.read() as source:
        for n in range(20):
            topic.produce(n)
            with trio.move_on_after(0.02):
                got += KafkaParser(INTS).parse_batch(await source.read_batch())
        got += await values(source, 20 - len(got))

    assert got == list(range(20))


@pytest.mark.slow
async def test_a_member_of_a_group_commits_before_it_leaves(topic):
    """Joining takes the mock's coordinator three seconds."""
    for n in range(40):
        topic.produce(n, partition=n % 4)
    config = topic.config()
    member = await KafkaSource.open(
        config, [topic.name], commit=CommitWhen.EXPLICIT, commit_interval=1e9
    )
    assert sorted(await values(member, 40)) == list(range(40))
    member.processed()
    await member.aclose()

    topic.produce(99)
    async with await topic.read(start=COMMITTED) as source:
        assert await values(source, 1) == [99]


class Counting:
    """A consumer whose polls are counted, and which says when it was polled twice."""

    def __init__(self, consumer):
        self._consumer = consumer
        self.polls = 0
        self.twice = trio.Event()

    def consume(self, *arguments):
        self.polls += 1
        if self.polls == 2:
            trio.from_thread.run_sync(self.twice.set)
        return self._consumer.consume(*arguments)

    def __getattr__(self, name):
        return getattr(self._consumer, name)


async def test_during_long_work_the_group_is_polled_and_nothing_is_received(topic):
    topic.produce(1)
    async with await topic.read() as source:
        assert await values(source, 1) == [1]
        counting = source._consumer = Counting(source._consumer)
        async with source.hold():
            topic.produce(2)
            with trio.fail_after(120):
                await counting.twice.wait()
        early = source._early
        got = await values(source, 1)

    assert early == []
    assert got == [2]


async def test_brokers_that_are_away_are_reported_and_waited_for(topic):
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    config = topic.config(**{"bootstrap.servers": f"127.0.0.1:{port}"})

    async with await KafkaSource.open(config, partitions=[("x", 0, 0)]) as source:
        batch = await source.read_batch()

    fault = KafkaParser(INTS).parse_batch(batch)[0]
    assert isinstance(fault, Broker)
    assert fault.recoverable
    assert not fault.terminal
    assert fault.code in {"_TRANSPORT", "_ALL_BROKERS_DOWN"}


async def test_a_closed_source_reads_no_more_and_wakes_its_reader(topic):
    source = await topic.read()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            with pytest.raises(trio.ClosedResourceError):
                await source.read_batch()

        await trio.testing.wait_all_tasks_blocked()
        await source.aclose()
    await source.aclose()

    with pytest.raises(trio.ClosedResourceError):
        await source.commit()


async def test_closing_is_done_even_if_cancelled(topic):
    topic.produce(1, 2)
    source = await topic.read(commit=CommitWhen.EXPLICIT)
    await values(source, 2)
    source.processed()
    with trio.CancelScope() as scope:
        scope.cancel()
        await source.aclose()

    topic.produce(3)
    async with await topic.read(start=COMMITTED) as source:
        assert await values(source, 1) == [3]


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ({"enable.auto.commit": True}, {"topics": ["a"]}, "must be False"),
        ({"no.such.setting": 1}, {"topics": ["a"]}, "cannot be used"),
        ({}, {}, "give one of them"),
        ({}, {"topics": ["a"], "partitions": [("a", 0, 0)]}, "give one of them"),
    ],
)
async def test_an_impossible_set_up_is_refused(config, arguments, words):
    with pytest.raises(LocalError, match=words):
        await KafkaSource.open({"group.id": "g", **config}, **arguments)


async def test_without_the_package_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "confluent_kafka", None)

    with pytest.raises(Unsupported, match="install confluent-kafka"):
        await KafkaSource.open({"group.id": "g"}, ["a"])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("_ALL_BROKERS_DOWN", Broker),
        ("_AUTHENTICATION", Unauthorised),
        ("TOPIC_AUTHORIZATION_FAILED", Unauthorised),
        ("UNKNOWN_TOPIC_OR_PART", Subscribe),
        ("_SSL", TlsError),
        ("_RESOLVE", DnsError),
    ],
)
def test_errors_of_the_client_become_ours(code, kind):
    error = kafka.KafkaError(getattr(kafka.KafkaError, code))

    fault = broker_error(error)

    assert type(fault) is kind
    assert not fault.terminal


def test_a_fatal_error_ends_the_stream():
    error = kafka.KafkaError(kafka.KafkaError._FATAL, "fenced", True)

    assert broker_error(error).terminal


class FakeMessage:
    def __init__(self, topic, partition, offset, error=None):
        self._place = (topic, partition, offset)
        self._error = error

    def topic(self):
        return self._place[0]

    def partition(self):
        return self._place[1]

    def offset(self):
        return self._place[2]

    def error(self):
        return self._error

    def key(self):
        return None

    def value(self):
        return b"no number"

    def timestamp(self):
        return (0, -1)


class FakeConsumer:
    """A client whose answers are scripted, for what the mock cluster cannot do."""

    def __init__(self, settings, polls, commits=()):
        self.settings = settings
        self.polls = list(polls)
        self.commits = list(commits)
        self.committed = []
        self.rebalance = {}

    def subscribe(self, topics, **callbacks):
        self.rebalance = callbacks

    def consume(self, most, timeout):
        step = self.polls.pop(0) if self.polls else []
        if isinstance(step, Exception):
            raise step
        return step(self) if callable(step) else step

    def commit(self, *, offsets, asynchronous):
        self.committed.append([(o.topic, o.partition, o.offset) for o in offsets])
        outcome = self.commits.pop(0) if self.commits else None
        if asynchronous:
            self.settings["on_commit"](outcome, offsets)
        elif outcome is not None:
            raise kafka.KafkaException(outcome)

    def close(self):
        pass


async def fake_source(monkeypatch, polls, commits=(), **options):
    made = []

    def make(settings):
        made.append(FakeConsumer(settings, polls, commits))
        return made[-1]

    monkeypatch.setattr(kafka, "Consumer", make)
    source = await KafkaSource.open({}, ["t"], **options)
    return source, made[0]


def failure(name="_TRANSPORT"):
    return kafka.KafkaError(getattr(kafka.KafkaError, name))


async def test_a_commit_that_fails_is_reported_and_tried_again(monkeypatch):
    polls = [[FakeMessage("t", 0, offset)] for offset in (4, 5, 6)]
    source, consumer = await fake_source(
        monkeypatch, polls, [failure(), None], commit_interval=0.0
    )

    await source.read_batch()
    second = await source.read_batch()  # processed the first, whose commit fails
    third = await source.read_batch()
    await source.aclose()

    assert isinstance(second.frames[0], Broker)
    assert len(third.frames) == 1
    assert consumer.committed == [[("t", 0, 5)], [("t", 0, 6)]]


async def test_an_explicit_commit_that_fails_raises_and_keeps_what_is_processed(
    monkeypatch,
):
    source, consumer = await fake_source(
        monkeypatch, [[FakeMessage("t", 0, 4)]], [failure()], commit=CommitWhen.EXPLICIT
    )
    await source.read_batch()
    source.processed()

    with pytest.raises(Broker):
        await source.commit()
    await source.commit()
    await source.commit()

    assert consumer.committed == [[("t", 0, 5)]] * 2
    await source.aclose()


async def test_partitions_that_go_are_committed_first_and_then_forgotten(monkeypatch):
    places = [kafka.TopicPartition("t", 0), kafka.TopicPartition("t", 1)]
    messages = [FakeMessage("t", 0, 4), FakeMessage("t", 1, 7)]

    def revoke(consumer):
        consumer.rebalance["on_revoke"](consumer, places[:1])
        consumer.rebalance["on_lost"](consumer, places[1:])
        return [FakeMessage("t", 2, 0)]

    source, consumer = await fake_source(
        monkeypatch,
        [messages, revoke],
        [None, failure("ILLEGAL_GENERATION")],
        commit=CommitWhen.EXPLICIT,
    )
    await source.read_batch()
    source.processed()
    batch = await source.read_batch()
    source.processed()
    await source.aclose()

    assert sorted(consumer.committed[0]) == [("t", 0, 5), ("t", 1, 8)]
    assert consumer.committed[1:] == [[("t", 2, 1)]]
    assert len(batch.frames) == 1


async def test_a_commit_refused_while_partitions_go_is_reported(monkeypatch):
    def revoke(consumer):
        place = kafka.TopicPartition("t", 0)
        consumer.rebalance["on_revoke"](consumer, [place])
        return []

    source, _ = await fake_source(
        monkeypatch,
        [[FakeMessage("t", 0, 4)], revoke, []],
        [failure("ILLEGAL_GENERATION")],
        commit_interval=1e9,
        commit=CommitWhen.EXPLICIT,
    )
    source._next_commit = float("inf")
    await source.read_batch()
    source.processed()

    (fault,) = (await source.read_batch()).frames

    assert fault.code == "ILLEGAL_GENERATION"
    await source.aclose()


async def test_a_client_that_fails_for_good_ends_the_source(monkeypatch):
    error = kafka.KafkaError(kafka.KafkaError._FATAL, "fenced", True)
    source, _ = await fake_source(monkeypatch, [kafka.KafkaException(error)])

    with pytest.raises(Broker, match="fenced") as caught:
        await source.read_batch()

    assert caught.value.terminal
    await source.aclose()


def test_faults_in_place_of_messages_pass_through_both_parsers():
    eof = FakeMessage("t", 0, 0, failure("UNKNOWN_TOPIC_OR_PART"))
    reported = Broker("away")
    undecodable = FakeMessage("t", 0, 0)

    for parser in (KafkaParser(INTS), KafkaRecordParser(INTS)):
        assert isinstance(parser.parse(eof), Subscribe)
        assert parser.parse(reported) is reported
        assert isinstance(parser.parse(undecodable), DeserialiseBinary)
