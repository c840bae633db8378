"""Our sessions against QuickFIX's, an independent engine, both ways round.

QuickFIX is no dependency: `uv pip install quickfix-py` brings it for these tests. It
runs in a process of its own, since its Python binding may crash when it stops.
"""

import subprocess
import sys

import pytest
import trio

from netcore.fix import (
    Acceptor,
    FixSession,
    LoggedOn,
    LoggedOut,
    Message,
    ResentMessage,
    Role,
    SessionConfig,
    dictionary,
)
from netcore.fix.trio import open_fix, serve_fix
from netcore.testing import reserved_port

pytest.importorskip("quickfix")

BODY = [
    (11, "a"), (21, "1"), (55, "X"), (54, "1"), (60, "20240808-12:00:00"), (40, "1")
]  # fmt: skip

# An engine that echoes application messages until it is killed.
ENGINE = """
import sys, quickfix

class Application(quickfix.Application):
    def onCreate(self, session_id): pass
    def onLogon(self, session_id): pass
    def onLogout(self, session_id): pass
    def toAdmin(self, message, session_id): pass
    def fromAdmin(self, message, session_id): pass
    def toApp(self, message, session_id): pass
    def fromApp(self, message, session_id):
        quickfix.Session.sendToTarget(quickfix.Message(message), session_id)

settings = quickfix.SessionSettings(sys.argv[2])
parts = (Application(), quickfix.MemoryStoreFactory(), settings)
engine = getattr(quickfix, sys.argv[1])(*parts)
engine.start()
sys.stdin.read()
"""

SETTINGS = """
[DEFAULT]
ConnectionType={kind}
StartTime=00:00:00
EndTime=00:00:00
HeartBtInt=5
ReconnectInterval=1
UseDataDictionary=N
SocketAcceptPort={port}
SocketConnectHost=127.0.0.1
SocketConnectPort={port}
SocketReuseAddress=Y

[SESSION]
BeginString=FIX.4.4
SenderCompID=QF
TargetCompID=US
"""


@pytest.fixture
async def start(tmp_path):
    """Start an engine; it is killed at the end."""
    processes = []

    async def run(kind, port):
        path = tmp_path / "quickfix.cfg"
        path.write_text(SETTINGS.format(kind=kind, port=port))
        name = {"acceptor": "SocketAcceptor", "initiator": "SocketInitiator"}[kind]
        processes.append(
            await trio.lowlevel.open_process(
                [sys.executable, "-c", ENGINE, name, str(path)], stdin=subprocess.PIPE
            )
        )

    yield run
    for process in processes:
        process.kill()
        await process.wait()


def config(role):
    return SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id="US",
        target_comp_id="QF",
        role=role,
        heartbeat_interval=5,
    )


@pytest.fixture
def port():
    """Where QuickFIX is to listen."""
    with reserved_port() as port:
        yield port


async def reach(port):
    """Wait until somebody listens."""
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.lowlevel.checkpoint()
        else:
            await stream.aclose()
            return


async def test_we_connect_to_quickfix(start, port):
    await start("acceptor", port)
    session = FixSession(config(Role.INITIATOR), dictionary=dictionary("FIX.4.4"))
    with trio.fail_after(60):
        await reach(port)
        for round_ in range(2):
            async with open_fix(f"tcp://127.0.0.1:{port}", session) as connection:
                assert isinstance(await anext(connection), LoggedOn)
                orders = [f"{round_}.{number}" for number in range(50)]
                for order in orders:
                    connection.send("D", [(11, order), *BODY[1:]])
                got = [await anext(connection) for _ in orders]
                assert [message.text(11) for message in got] == orders
                connection.logout()
                assert [event async for event in connection] == [LoggedOut("")]


async def test_quickfix_connects_to_us_and_resends_what_we_ask_for(start, nursery):
    session = FixSession(config(Role.ACCEPTOR))
    acceptor = Acceptor([session])
    got, again = [], trio.Event()

    async def handle(connection):
        async for event in connection:
            match event:
                case LoggedOn() if not got:
                    connection.send("D", BODY)
                case ResentMessage():
                    got.append(event)
                    again.set()
                case Message():
                    got.append(event)
                    # As if we had never heard anything: it has to be sent again.
                    session.commit()
                    connection.abort()
                    session.store.expect(1)
                    session._sequence.reset(1)

    server = await nursery.start(serve_fix, handle, acceptor, 0)
    await start("initiator", server.port)
    with trio.fail_after(60):
        await again.wait()

    first, second = got
    assert first.sequence == second.sequence
    assert second.body == first.body
    nursery.cancel_scope.cancel()
