"""schemathesis' state machine against a real server: sequences, not single requests.

It makes demands, portfolios and products, and goes on with the ids it was given, as the
description's paths suggest. Every answer must be one that the description has.
"""

import json
import subprocess
import sys
import threading
from functools import partial

import pytest
import trio

from flowtrade.api.openapi import describe
from flowtrade.api.routes import ROUTES
from flowtrade.auth import JwtAuthorizer, generate_jwt
from flowtrade.serve import run_auction
from flowtrade.settings import (
    AuctionSettings,
    ScheduleSettings,
    ServerSettings,
    Settings,
)
from flowtrade.testing import FixedSolver, SeededIds
from netcore.clock import ManualClock

pytest.importorskip("schemathesis")

SECRET = "a secret of thirty-two characters!"
BIDDER = "11111111-1111-4111-8111-111111111111"
NOW = 1_700_000_000 * 10**9
CONFIG = Settings(
    server=ServerSettings(port=0),
    schedule=ScheduleSettings(every=None),
    auction=AuctionSettings(horizon=1.0),
)
# Not use_after_free: what is deleted is withdrawn, and its history stays readable.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ensure_resource_availability",
]


class Server:
    """A service in a thread of its own."""

    def __init__(self):
        self._begun = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=[self._serve])
        self._thread.start()
        self.token = generate_jwt(BIDDER, SECRET, admin=True, now=NOW)
        assert self._begun.wait(30)

    async def _serve(self):
        self._shutdown = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            auction = await nursery.start(
                partial(
                    run_auction,
                    CONFIG,
                    authorizer=JwtAuthorizer.from_secret(
                        SECRET, clock=ManualClock(NOW)
                    ),
                    solver=FixedSolver(),
                    ids=SeededIds(),
                    clock=ManualClock(NOW),
                    shutdown=self._shutdown,
                )
            )
            self.url = auction.url
            self._begun.set()

    def stop(self):
        trio.from_thread.run_sync(self._shutdown.set, trio_token=self._token)
        self._thread.join()


def without_tuples(schema):
    """The description with arrays for tuples, at which schemathesis 4.32 stumbles."""
    if isinstance(schema, list):
        return [without_tuples(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: without_tuples(value) for name, value in schema.items()}
    if "prefixItems" in plain:
        plain["items"] = {"anyOf": plain.pop("prefixItems")}
    return plain


@pytest.mark.slow
def test_sequences_of_requests_are_answered_as_described(tmp_path):
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(without_tuples(describe(ROUTES))))
    server = Server()
    try:
        done = subprocess.run(  # noqa: S603  # our own server, made above
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                *(str(described), "--url", server.url),
                *("--phases", "stateful"),
                *("--checks", ",".join(CHECKS)),
                *("--header", f"Authorization: Bearer {server.token}"),
                # Streams never end, so a client would wait for ever.
                *("--exclude-path-regex", "/updates$"),
                *("--max-examples", "15", "--seed", "1", "--request-timeout", "30"),
                *("--mode", "positive", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    finally:
        server.stop()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Stateful" in done.stdout
