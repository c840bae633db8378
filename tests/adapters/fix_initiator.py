"""A FIX client: `fix_initiator.py PORT BEGINSTRING TARGETCOMPID HEARTBTINT`.

Connects as ISLD, over and over, each time with numbers that begin at 1, and echoes
orders; see `netcore.fix.testing.Echo`.
"""

import signal
import sys

import trio
from _program import port, start

from netcore.errors import ConnectError
from netcore.fix import FixSession, SessionConfig, dictionary
from netcore.fix.testing import Echo
from netcore.fix.trio import open_fix

VERSIONS = {"TW50": "7", "TW50SP1": "8", "TW50SP2": "9"}
RECONNECT_SECONDS = 0.5


def version(text: str) -> str:
    """Check a BeginString."""
    try:
        dictionary(text, "9" if text == "FIXT.1.1" else "")
    except LookupError as exc:
        raise ValueError(text) from exc
    return text


def seconds(text: str) -> int:
    """Read an interval."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


async def talk(number: int, config: SessionConfig) -> None:
    """Log on once and echo until the session ends."""
    version = config.default_appl_ver_id
    known = dictionary(config.begin_string, version, user_defined=False)
    session = FixSession(config, dictionary=known)
    async with open_fix(f"tcp://127.0.0.1:{number}", session) as connection:
        application = Echo(connection, known)
        async for event in connection:
            application.handle(event)


async def stay(number: int, config: SessionConfig) -> None:
    """Connect again whenever the connection is over or nobody listens."""
    while True:
        try:
            await talk(number, config)
        except ConnectError as exc:
            print(exc, file=sys.stderr)
        await trio.sleep(RECONNECT_SECONDS)


async def main(number: int, begin_string: str, target: str, heartbeat: int) -> None:
    """Run until SIGTERM."""
    config = SessionConfig(
        begin_string=begin_string,
        sender_comp_id="ISLD",
        target_comp_id=target,
        heartbeat_interval=heartbeat,
        default_appl_ver_id=(
            VERSIONS.get(target, "9") if begin_string == "FIXT.1.1" else ""
        ),
    )
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay, number, config)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    usage = "fix_initiator.py PORT BEGINSTRING TARGETCOMPID HEARTBTINT"
    sys.exit(start(usage, main, port, version, str, seconds))
