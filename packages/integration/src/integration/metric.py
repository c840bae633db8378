"""Measurements as values, and their text forms.

A `Metric` is what one measurement is: a name, a time, tags to group by and fields to
plot. Where it goes is a `MetricSink`'s business; this module writes the two formats
that collectors read, InfluxDB's line protocol and Prometheus' text exposition, and
does no I/O.
"""

import math
import re
from collections.abc import Iterable
from typing import Protocol, TypeAlias

import msgspec

from integration.errors import Serialise
from netcore.models import Model

__all__ = [
    "Bool",
    "Field",
    "Float",
    "Int",
    "Metric",
    "MetricSink",
    "String",
    "Tag",
    "UInt",
    "Value",
    "encode_influx",
    "encode_prometheus",
]


class Float(msgspec.Struct, frozen=True, tag="float"):
    """A real number."""

    value: float


class Int(msgspec.Struct, frozen=True, tag="int"):
    """A whole number that may be negative (64 bits)."""

    value: int


class UInt(msgspec.Struct, frozen=True, tag="uint"):
    """A whole number that is never negative (64 bits)."""

    value: int


class Bool(msgspec.Struct, frozen=True, tag="bool"):
    """Yes or no."""

    value: bool


class String(msgspec.Struct, frozen=True, tag="string"):
    """A text."""

    value: str


Value: TypeAlias = Float | Int | UInt | Bool | String
"""What a field holds; the kind is part of the value, as collectors store it."""


class Tag(Model, frozen=True):
    """What a metric is grouped by: a key and one of few values."""

    key: str
    value: str


class Field(Model, frozen=True):
    """What was measured."""

    key: str
    value: Value


class Metric(Model, frozen=True):
    """One measurement.

    Attributes:
        name: What was measured, in snake_case.
        time: When, milliseconds since epoch.
        tags: What to group by; the order has no meaning.
        fields: The figures; at least one.
    """

    name: str
    time: int
    tags: tuple[Tag, ...] = ()
    fields: tuple[Field, ...] = ()

    def tag(self, key: str) -> str | None:
        """Return the value of a tag, or None if there is none of that key."""
        return next((t.value for t in self.tags if t.key == key), None)

    def field(self, key: str) -> float | int | bool | str | None:
        """Return the plain value of a field, or None if there is none of that key."""
        return next((f.value.value for f in self.fields if f.key == key), None)


class MetricSink(Protocol):
    """Takes metrics; must neither wait nor raise."""

    def __call__(self, metric: Metric, /) -> None:
        """Take one metric."""
        ...


def encode_influx(metrics: Iterable[Metric]) -> bytes:
    """Write metrics in InfluxDB's line protocol, times in milliseconds.

    Reference: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
    Send with `precision=ms`.

    Raises:
        Serialise: A metric has no fields, or holds what the format cannot: a line
            break in a name or tag, a trailing backslash, a float that is not finite,
            an integer beyond 64 bits.
    """
    return "".join(_influx_line(metric) for metric in metrics).encode()


def encode_prometheus(metrics: Iterable[Metric]) -> bytes:
    """Write metrics in Prometheus' text exposition format, version 0.0.4.

    Each field becomes the sample `{name}_{field}`; a text field becomes
    `{name}_{field}_info{value="..."} 1`. Names are made valid by `_`. If a sample
    occurs more than once, the newest stays, since one exposition holds one value.

    Reference: https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    families: dict[str, dict[str, tuple[int, str]]] = {}
    for metric in metrics:
        for field in metric.fields:
            family, labels, number = _prometheus_sample(metric, field)
            samples = families.setdefault(family, {})
            if labels not in samples or samples[labels][0] <= metric.time:
                samples[labels] = (metric.time, number)
    lines: list[str] = []
    for family, samples in families.items():
        lines.append(f"# TYPE {family} untyped\n")
        lines.extend(
            f"{family}{labels} {number} {time}\n"
            for labels, (time, number) in samples.items()
        )
    return "".join(lines).encode()


_MAX_INT = 2**63 - 1
_MAX_UINT = 2**64 - 1


def _influx_line(metric: Metric) -> str:
    if not metric.fields:
        raise Serialise(f"metric {metric.name!r} has no field; a line needs one")
    head = _influx_escape(metric.name, ", ")
    # Sorted by key: the format's own advice for performance.
    for tag in sorted(metric.tags, key=lambda t: t.key):
        if tag.value:  # an empty tag value is not allowed; absence means the same
            head += f",{_influx_escape(tag.key)}={_influx_escape(tag.value)}"
    body = ",".join(
        f"{_influx_escape(f.key)}={_influx_value(metric, f)}" for f in metric.fields
    )
    return f"{head} {body} {metric.time}\n"


def _influx_escape(text: str, special: str = ",= ") -> str:
    if not text or "\n" in text or "\r" in text or text.endswith("\\"):
        raise Serialise(
            f"a name or tag must not be empty, hold a line break or end with a "
            f"backslash, was {text!r}"
        )
    return re.sub(f"([{special}])", r"\\\1", text)


def _influx_value(metric: Metric, field: Field) -> str:
    match field.value:
        case Float(value) if math.isfinite(value):
            return repr(float(value))
        case Int(value) if -_MAX_INT - 1 <= value <= _MAX_INT:
            return f"{value}i"
        case UInt(value) if 0 <= value <= _MAX_UINT:
            return f"{value}u"
        case Bool(value):
            return "true" if value else "false"
        case String(text):
            return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            raise Serialise(
                f"metric {metric.name!r}: field {field.key!r} cannot hold {field.value}"
            )


def _prometheus_sample(metric: Metric, field: Field) -> tuple[str, str, str]:
    family = f"{_prometheus_name(metric.name)}_{_prometheus_name(field.key)}"
    pairs = [(_prometheus_name(t.key, label=True), t.value) for t in metric.tags]
    match field.value:
        case String(text):
            family, number = f"{family}_info", "1"
            pairs.append(("value", text))
        case Bool(flag):
            number = "1" if flag else "0"
        case Float(value) if math.isnan(value):
            number = "NaN"
        case Float(value) if math.isinf(value):
            number = "+Inf" if value > 0 else "-Inf"
        case Float(value) | Int(value) | UInt(value):
            number = repr(value)
    labels = ",".join(f'{k}="{_prometheus_text(v)}"' for k, v in sorted(pairs))
    return family, f"{{{labels}}}" if labels else "", number


def _prometheus_name(text: str, *, label: bool = False) -> str:
    # Colons are for recording rules; labels may not have them at all.
    name = re.sub(r"[^a-zA-Z0-9_]" if label else r"[^a-zA-Z0-9_:]", "_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def _prometheus_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
