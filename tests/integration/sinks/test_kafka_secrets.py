"""Passwords of brokers are in no error, no repr and no log."""

import logging
import traceback

import pytest

from integration.errors import LocalError
from integration.protocols.kafka import KafkaSource
from integration.sinks.kafka import KafkaSink
from netcore.testing import reserved_port

pytest.importorskip("confluent_kafka")

SECRET = "s3cret"
SASL = {"security.protocol": "sasl_plaintext", "sasl.username": "user"}
UNUSABLE = [
    {**SASL, "sasl.mechanism": "NOPE", "sasl.password": SECRET},
    {**SASL, "security.protocol": "bogus", "sasl.password": SECRET},
    {**SASL, "sasl.password": SECRET, "no.such.setting": "1"},
    {"security.protocol": "ssl", "ssl.key.pem": SECRET, "ssl.key.password": SECRET},
]


async def open_sink(config):
    return await KafkaSink.open(config, topic="t")


async def open_source(config):
    return await KafkaSource.open({"group.id": "g", **config}, topics=["t"])


@pytest.mark.parametrize("config", UNUSABLE, ids=range(len(UNUSABLE)))
@pytest.mark.parametrize("opened", [open_sink, open_source])
async def test_a_configuration_that_cannot_be_used_shows_no_password(
    opened, config, caplog
):
    caplog.set_level(logging.DEBUG)

    with pytest.raises(LocalError) as caught:
        await opened({"bootstrap.servers": "127.0.0.1:1", **config})

    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown + repr(caught.value) + caplog.text


@pytest.mark.parametrize("opened", [open_sink, open_source])
async def test_what_talks_to_brokers_shows_no_password(opened, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    config = {**SASL, "sasl.mechanism": "PLAIN", "sasl.password": SECRET}
    with reserved_port() as port:
        made = await opened(
            {"bootstrap.servers": f"127.0.0.1:{port}", **config, "debug": "all"}
        )
        shown = repr(made) + str(vars(type(made)))
        await made.aclose()

    out, err = capfd.readouterr()
    assert SECRET not in shown + caplog.text + out + err
