import pytest

from integration.errors import Broker, LocalError
from integration.sinks.kafka import KafkaSink

kafka = pytest.importorskip(
    "confluent_kafka", reason="confluent-kafka is not installed"
)


@pytest.fixture(scope="module")
def servers():
    producer = kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    producer.flush(1)


def read(servers, topic, count):
    config = {"bootstrap.servers": servers, "group.id": "g", "log_level": 0}
    consumer = kafka.Consumer(config)
    consumer.assign([kafka.TopicPartition(topic, p, 0) for p in range(4)])
    got = []
    while len(got) < count:
        got += [
            (m.partition(), m.key(), m.value()) for m in consumer.consume(count, 0.1)
        ]
    consumer.close()
    return got


async def test_a_batch_is_with_the_brokers_when_sending_returns(servers):
    sink = await KafkaSink.open({"bootstrap.servers": servers, "log_level": 0}, "t")
    items = [(f"k{n % 3}".encode(), str(n).encode()) for n in range(300)]

    await sink.send_batch(items)

    got = read(servers, "t", 300)
    assert sorted((k, v) for _, k, v in got) == sorted(items)
    for key in (b"k0", b"k1", b"k2"):
        assert [v for _, k, v in got if k == key] == [v for k, v in items if k == key]
        assert len({p for p, k, _ in got if k == key}) == 1
    await sink.send_batch([])
    await sink.aclose()


async def test_a_queue_that_is_full_is_waited_for(servers):
    config = {
        "bootstrap.servers": servers,
        "queue.buffering.max.messages": 10,
        "log_level": 0,
    }
    sink = await KafkaSink.open(config, "full")

    await sink.send_batch([(None, b"x")] * 100)

    assert len(read(servers, "full", 100)) == 100
    await sink.aclose()


async def test_what_was_not_acknowledged_is_an_error_and_the_rest_arrives(servers):
    config = {"bootstrap.servers": servers, "message.max.bytes": 1000, "log_level": 0}
    sink = await KafkaSink.open(config, "large")

    with pytest.raises(Broker, match="1 of 2 messages were not acknowledged"):
        await sink.send_batch([(None, b"x" * 2000), (None, b"small")])

    assert [v for *_, v in read(servers, "large", 1)] == [b"small"]
    await sink.aclose()


async def test_brokers_that_stay_away_are_an_error():
    config = {
        "bootstrap.servers": "127.0.0.1:1",
        "message.timeout.ms": 300,
        "log_level": 0,
    }
    sink = await KafkaSink.open(config, "t")

    with pytest.raises(Broker) as caught:
        await sink.send_batch([(None, b"x")])

    assert caught.value.code == "_MSG_TIMED_OUT"
    await sink.aclose()


async def test_a_configuration_that_cannot_be_used_is_refused():
    with pytest.raises(LocalError, match="cannot be used"):
        await KafkaSink.open({"no.such.setting": 1}, "t")
