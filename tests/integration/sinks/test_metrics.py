import pytest

from integration.errors import Serialise
from integration.metric import Field, Int, Metric
from integration.sinks import MetricBuffer


def metric(value):
    return Metric(name="m", time=value, fields=(Field(key="x", value=Int(value)),))


def test_metrics_are_kept_until_taken():
    buffer = MetricBuffer()
    buffer(metric(1))
    buffer(metric(2))

    assert buffer.take() == [metric(1), metric(2)]
    assert buffer.take() == []


def test_the_oldest_make_room_and_are_counted():
    buffer = MetricBuffer(2)
    for n in range(5):
        buffer(metric(n))

    assert len(buffer) == 2
    assert buffer.dropped == 3
    assert buffer.take_influx() == b"m x=3i 3\nm x=4i 4\n"
    assert len(buffer) == 0


def test_a_scrape_sees_the_newest_and_leaves_it():
    buffer = MetricBuffer()
    buffer(metric(1))
    buffer(metric(2))

    assert buffer.prometheus() == buffer.prometheus()
    assert buffer.prometheus() == b"# TYPE m_x untyped\nm_x 2 2\n"


def test_what_cannot_be_written_stays():
    buffer = MetricBuffer()
    buffer(Metric(name="m", time=1))

    with pytest.raises(Serialise):
        buffer.take_influx()

    assert len(buffer) == 1


def test_a_buffer_keeps_something():
    with pytest.raises(ValueError, match="at least one"):
        MetricBuffer(0)
