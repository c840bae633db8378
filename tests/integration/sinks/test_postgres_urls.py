"""Addresses of databases hold passwords, which no error shows."""

import traceback

import pytest

from integration.errors import Broker, LocalError
from integration.sinks.postgres import PostgresSink
from netcore.testing import reserved_port

pytest.importorskip("psycopg")

UNUSABLE = [
    "postgresql://user:s3%cret@127.0.0.1:1/db",
    "postgresql://user:s3cret@[::1/db",
    "postgresql://user:s3cr@et%@127.0.0.1:1/db",
    "postgresql://user@127.0.0.1:1/db?password=s3%cret",
    "postgresql://127.0.0.1:1/db?password=s3cret&x=y",
    "host=127.0.0.1 port=1 password=s3cret more",
    "host=127.0.0.1 port=1 PASSWORD = 's3cret",
]


@pytest.mark.parametrize("url", UNUSABLE)
async def test_a_url_that_cannot_be_read_is_not_quoted_with_its_password(url):
    with pytest.raises(LocalError, match="URL cannot be used") as caught:
        await PostgresSink.open(url)

    shown = "".join(traceback.format_exception(caught.value))
    assert "s3" not in shown.replace("psycopg3", "")
    assert "cret" not in shown


async def test_a_server_that_is_not_there_is_named_without_the_password():
    with reserved_port() as port:
        url = f"postgresql://user:s3cret@127.0.0.1:{port}/db"
        with pytest.raises(Broker, match=f"port {port} failed") as caught:
            await PostgresSink.open(url)

    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_what_is_wrong_with_a_url_is_still_said():
    with pytest.raises(LocalError, match="invalid percent-encoded token"):
        await PostgresSink.open("postgresql://user:a%zz@127.0.0.1:1/db")
    with pytest.raises(LocalError, match='missing "=" after "more"'):
        await PostgresSink.open("host=127.0.0.1 password=s3cret more")
