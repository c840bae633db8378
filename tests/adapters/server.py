"""The auction service on an empty store: `server.py PORT [SECRET] [OPTIONS]`.

Options: `--authorizer form` reads rights from the token itself and ids from app_data;
`--store URL` is `memory:` (default), `sqlite:PATH` or `postgresql://…`. For trade caps,
a batch is expected to hold for an hour. Ends on SIGTERM; what cannot be used is one
line on stderr and exit code 2.
"""

import argparse
import sys

import trio
from _program import port

from flowtrade.auth import FormAuthorizer, JwtAuthorizer
from flowtrade.errors import CannotListen, InvalidRequest, SchemaMismatch, StoreFailed
from flowtrade.ids import DataIds, TimeOrderedIds
from flowtrade.program import run_program
from flowtrade.serve import run_auction
from flowtrade.settings import (
    AuctionSettings,
    ScheduleSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)

USAGE_ERRORS = (CannotListen, InvalidRequest, SchemaMismatch, StoreFailed)


def main(arguments: argparse.Namespace) -> int:
    form = arguments.authorizer == "form"

    async def run(shutdown: trio.Event) -> None:
        await run_auction(
            Settings(
                server=ServerSettings(port=arguments.port),
                store=StoreSettings(url=arguments.store),
                schedule=ScheduleSettings(every=None),
                auction=AuctionSettings(horizon=3600.0),
            ),
            authorizer=FormAuthorizer()
            if form
            else JwtAuthorizer.from_secret(arguments.secret),
            ids=DataIds() if form else TimeOrderedIds(),
            shutdown=shutdown,
        )

    return run_program("server.py", run, usage_errors=USAGE_ERRORS)


class OneLine(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}\n")


if __name__ == "__main__":
    parser = OneLine(description=__doc__)
    parser.add_argument("port", type=port)
    parser.add_argument(
        "secret", nargs="?", default="an unsafe secret of 32 characters"
    )
    parser.add_argument("--authorizer", choices=("form", "jwt"), default="jwt")
    parser.add_argument("--store", default="memory:")
    sys.exit(main(parser.parse_args()))
