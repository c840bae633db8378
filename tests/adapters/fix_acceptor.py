"""A FIX venue: `fix_acceptor.py PORT`. Echoes; see `netcore.fix.testing.Echo`."""

import signal
import sys

import trio
from _program import port, start

from netcore.fix import Acceptor, FixSession, Role, SessionConfig, dictionary
from netcore.fix.testing import Echo
from netcore.fix.trio import TrioFixConnection, serve_fix

COUNTERPARTIES = [
    *((f"FIX.4.{minor}", f"TW4{minor}", "") for minor in range(5)),
    ("FIXT.1.1", "TW50", "7"),
    ("FIXT.1.1", "TW50SP1", "8"),
    ("FIXT.1.1", "TW50SP2", "9"),
]


def known(config: SessionConfig):
    """The dictionary for a session; tags from 5000 on are not agreed on."""
    version = config.default_appl_ver_id
    return dictionary(config.begin_string, version, user_defined=False)


def session(begin_string: str, target: str, version: str) -> FixSession:
    """A session of ours, as ISLD."""
    config = SessionConfig(
        begin_string=begin_string,
        sender_comp_id="ISLD",
        target_comp_id=target,
        role=Role.ACCEPTOR,
        reset_on_logon=True,
        default_appl_ver_id=version,
    )
    return FixSession(config, dictionary=known(config))


async def echo(connection: TrioFixConnection) -> None:
    """Answer one counterparty until it has left."""
    application = Echo(connection, known(connection.session.config))
    async for event in connection:
        application.handle(event)


async def main(number: int) -> None:
    """Serve until SIGTERM."""
    acceptor = Acceptor(session(*party) for party in COUNTERPARTIES)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_fix, echo, acceptor, number)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(start("fix_acceptor.py PORT", main, port))
