"""`flowtrade serve` and `flowtrade config show`: the configuration, run or shown."""

import json
import ssl
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import trio
from cyclopts import Parameter

from flowtrade.commands.config import resolve_config
from flowtrade.commands.reporting import program_name
from flowtrade.errors import (
    CannotListen,
    FlowtradeError,
    InvalidRequest,
    SchemaMismatch,
    StoreFailed,
)
from flowtrade.models.clearing import SolverMode
from flowtrade.program import EXIT_USAGE, run_program
from flowtrade.settings import Settings
from integration.errors import IntegrationError

# The server, its solver and its keys take a second to load: only to run it.
if TYPE_CHECKING:
    from flowtrade.auth import JwtAuthorizer
    from flowtrade.commands.running import RunningServer

__all__ = ["USAGE_ERRORS", "make_authorizer", "serve", "show_config"]

_SECRET = "FLOWTRADE_SECRET"  # noqa: S105  # the variable's name, not the secret

USAGE_ERRORS = (InvalidRequest, CannotListen, SchemaMismatch, StoreFailed)
"""What the operator can mend before starting again."""

ConfigFile = Annotated[Path | None, Parameter(name=["--config", "-c"])]
Secret = Annotated[str | None, Parameter(env_var=_SECRET, show_default=False)]


def serve(
    *,
    config: ConfigFile = None,
    host: str | None = None,
    port: int | None = None,
    store: str | None = None,
    every: float | None = None,
    solver: SolverMode | None = None,
    keys: str | None = None,
    secret: Secret = None,
) -> int:
    """Run the server until SIGINT or SIGTERM.

    Flags win over variables named `FLOWTRADE_<SECTION>__<KEY>`, and these over the
    file.

    Args:
        config: TOML file with the tables server, auth, store, schedule, auction, feed
            and the products.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        store: `memory:`, `sqlite:PATH` or `postgresql://…`.
        every: Seconds between auctions.
        solver: Who solves first; every answer is certified alike.
        keys: Key set of the bearer tokens: an https URL or a file.
        secret: Key of the bearer tokens (HS256), 32 bytes at least, instead of a set.
    """
    from flowtrade.commands.running import run_server
    from flowtrade.serve.heap import keep_heap

    name = program_name()
    keep_heap()
    flags = _flags(
        host=host,
        port=port,
        store=store,
        every=every,
        solver=solver and solver.value,
        keys=keys,
    )

    async def run(shutdown: trio.Event) -> None:
        settings = resolve_config(config, flags=flags).settings
        authorizer = await make_authorizer(settings, secret)
        async with trio.open_nursery() as following:
            following.start_soon(authorizer.follow)
            async with trio.open_nursery() as serving:
                server: RunningServer = await serving.start(
                    partial(
                        run_server, settings, authorizer=authorizer, shutdown=shutdown
                    )
                )
                sys.stderr.write(f"{name}: listening on {server.auction.url}\n")
            following.cancel_scope.cancel()

    return run_program(
        name, run, usage_errors=USAGE_ERRORS, run_errors=(IntegrationError,)
    )


async def make_authorizer(
    settings: Settings,
    secret: str | None,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> "JwtAuthorizer":
    """Return the authorizer of tokens signed with a secret or a key of a set.

    Raises:
        InvalidRequest: There is neither, or both, or no usable key.
    """
    from flowtrade.auth import JwtAuthorizer, JwtPolicy, key_source

    auth = settings.auth
    policy = JwtPolicy(
        leeway=auth.leeway,
        require_expiry=auth.require_expiry,
        issuer=auth.issuer,
        audience=auth.audience,
    )
    if (secret is None) == (auth.keys is None):
        given = "neither was" if secret is None else "both were"
        raise InvalidRequest(
            f"tokens need either a secret (--secret or {_SECRET}) or a key set "
            f"(--keys or auth.keys); {given} given"
        )
    if secret is not None:
        return JwtAuthorizer.from_secret(secret, policy=policy)
    assert auth.keys is not None  # noqa: S101  # one of the two is there
    source = key_source(auth.keys, ssl_context=ssl_context)
    return await JwtAuthorizer.from_source(source, policy=policy)


def show_config(
    *,
    config: ConfigFile = None,
    host: str | None = None,
    port: int | None = None,
    store: str | None = None,
    every: float | None = None,
    solver: SolverMode | None = None,
    keys: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Show every setting with its value and where it comes from.

    Args:
        config: TOML file.
        host: As for serve.
        port: As for serve.
        store: As for serve.
        every: As for serve.
        solver: As for serve.
        keys: As for serve.
        as_json: One JSON object instead of lines.
    """
    flags = _flags(
        host=host,
        port=port,
        store=store,
        every=every,
        solver=solver and solver.value,
        keys=keys,
    )
    try:
        resolved = resolve_config(config, flags=flags)
    except FlowtradeError as error:
        sys.stderr.write(f"{program_name()}: {error}\n")
        return EXIT_USAGE
    rows = list(resolved.rows())
    if as_json:
        shown = {path: {"value": v, "source": source} for path, v, source in rows}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return 0
    width = max(len(f"{path} = {json.dumps(value)}") for path, value, _ in rows)
    for path, value, source in rows:
        line = f"{path} = {json.dumps(value)}"
        sys.stdout.write(f"{line:<{width}}  # {source}\n")
    return 0


_FLAGS: Mapping[str, str] = {
    "host": "server.host",
    "port": "server.port",
    "store": "store.url",
    "every": "schedule.every",
    "solver": "solver",
    "keys": "auth.keys",
}


def _flags(**given: Any) -> dict[str, tuple[str, Any]]:  # noqa: ANN401  # any setting
    return {
        _FLAGS[name]: (f"--{name}", value)
        for name, value in given.items()
        if value is not None
    }
