"""Our sessions against QuickFIX's, an independent engine, both ways round.

QuickFIX is no dependency: `uv pip install quickfix-py` brings it for these tests.
"""

import threading

import pytest

from netcore.fix import (
    FixSession,
    LoggedOn,
    LoggedOut,
    Message,
    ResentMessage,
    Role,
    SessionConfig,
    dictionary,
)

quickfix = pytest.importorskip("quickfix")

import trio  # noqa: E402 - after the skip

from netcore.fix import Acceptor  # noqa: E402 - after the skip
from netcore.fix.trio import open_fix, serve_fix  # noqa: E402 - after the skip

BODY = [
    (11, "a"),
    (21, "1"),
    (55, "X"),
    (54, "1"),
    (60, "20240808-12:00:00"),
    (40, "1"),
]

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


class Application(quickfix.Application):
    """Echoes application messages and counts what it got; called by QuickFIX."""

    def __init__(self):
        super().__init__()
        self.logged_on = threading.Event()
        self.logged_out = threading.Event()
        self.session_id = None
        self.got = []

    def onCreate(self, session_id):  # noqa: N802 - QuickFIX's name
        self.session_id = session_id

    def onLogon(self, session_id):  # noqa: N802 - QuickFIX's name
        self.logged_on.set()

    def onLogout(self, session_id):  # noqa: N802 - QuickFIX's name
        self.logged_out.set()

    def toAdmin(self, message, session_id):  # noqa: N802 - QuickFIX's name
        pass

    def fromAdmin(self, message, session_id):  # noqa: N802 - QuickFIX's name
        pass

    def toApp(self, message, session_id):  # noqa: N802 - QuickFIX's name
        pass

    def fromApp(self, message, session_id):  # noqa: N802 - QuickFIX's name
        self.got.append(message.getField(11))
        echo = quickfix.Message(message)
        quickfix.Session.sendToTarget(echo, session_id)


def start(kind, port, tmp_path):
    path = tmp_path / "quickfix.cfg"
    path.write_text(SETTINGS.format(kind=kind, port=port))
    application = Application()
    settings = quickfix.SessionSettings(str(path))
    make = quickfix.SocketAcceptor if kind == "acceptor" else quickfix.SocketInitiator
    parts = (application, quickfix.MemoryStoreFactory(), settings)
    engine = make(*parts)
    engine.start()
    return application, engine, parts


def config(role):
    return SessionConfig(
        begin_string="FIX.4.4",
        sender_comp_id="US",
        target_comp_id="QF",
        role=role,
        heartbeat_interval=5,
    )


async def free_port():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    return port


async def test_we_connect_to_quickfix(tmp_path):
    port = await free_port()
    application, engine, _parts = start("acceptor", port, tmp_path)
    session = FixSession(config(Role.INITIATOR), dictionary=dictionary("FIX.4.4"))
    try:
        for round_ in range(2):
            async with open_fix(f"tcp://127.0.0.1:{port}", session) as connection:
                assert isinstance(await anext(connection), LoggedOn)
                for number in range(50):
                    body = [
                        (t, f"{round_}.{number}" if t == 11 else v) for t, v in BODY
                    ]
                    connection.send("D", body)
                got = [await anext(connection) for _ in range(50)]
                assert {type(message) for message in got} == {Message}
                connection.logout()
                assert [event async for event in connection] == [LoggedOut("")]
    finally:
        await trio.to_thread.run_sync(engine.stop)
    assert len(application.got) == 100


async def test_quickfix_connects_to_us_and_resends_what_we_ask_for(tmp_path, nursery):
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
                    # As if we had never heard anything: QuickFIX has to send it again.
                    session.commit()
                    connection.abort()
                    session.store.expect(1)
                    session._sequence.reset(1)

    server = await nursery.start(serve_fix, handle, acceptor, 0)
    _application, engine, _parts = start("initiator", server.port, tmp_path)
    try:
        with trio.fail_after(30):
            await again.wait()
    finally:
        await trio.to_thread.run_sync(engine.stop)

    first, second = got
    assert first.sequence == second.sequence
    assert second.body == first.body
    nursery.cancel_scope.cancel()
