"""The auction service on an empty store: `server.py PORT [SECRET] [OPTIONS]`.

Options: `--authorizer form` reads rights from the token itself and ids from app_data;
`--store URL` is `memory:` (default) or `sqlite:PATH`. Ends on SIGTERM.
"""

import argparse

import trio

from flowtrade.auth import FormAuthorizer, JwtAuthorizer
from flowtrade.ids import DataIds, TimeOrderedIds
from flowtrade.serve import run_auction, stop_on_signals
from flowtrade.settings import (
    ScheduleSettings,
    ServerSettings,
    Settings,
    StoreSettings,
)


async def main(arguments: argparse.Namespace) -> None:
    settings = Settings(
        server=ServerSettings(port=arguments.port),
        store=StoreSettings(url=arguments.store),
        schedule=ScheduleSettings(every=None),
    )
    form = arguments.authorizer == "form"
    authorizer = (
        FormAuthorizer() if form else JwtAuthorizer.from_secret(arguments.secret)
    )
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signals, shutdown)
        await run_auction(
            settings,
            authorizer=authorizer,
            ids=DataIds() if form else TimeOrderedIds(),
            shutdown=shutdown,
        )
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument(
        "secret", nargs="?", default="an unsafe secret of 32 characters"
    )
    parser.add_argument("--authorizer", choices=("form", "jwt"), default="jwt")
    parser.add_argument("--store", default="memory:")
    trio.run(main, parser.parse_args())
