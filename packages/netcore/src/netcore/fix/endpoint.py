"""FIX sessions that an `IOService` keeps logged on.

What may live here: the joint between a `FixConnection` and a service. The rules are
`netcore.fix.session`'s; reconnecting, names and time limits are the service's. The
session and its store outlive every connection, so that the numbers go on and what was
missed in between is resent.
"""

from ssl import SSLContext
from typing import TypeVar

from netcore.clock import Clock
from netcore.endpoint import Endpoint
from netcore.errors import ConnectionClosed
from netcore.fix.client import FixConnection
from netcore.fix.events import Event, LoggedOn, LoggedOut, SessionError
from netcore.fix.fields import Message
from netcore.fix.session import FixSession
from netcore.info import Address, ConnectionInfo, parse_url
from netcore.stream.base import Stream
from netcore.stream.outbox import DEFAULT_LIMIT
from netcore.stream.tcp import TcpStream
from netcore.stream.tls import TlsStream

__all__ = ["FixEndpoint"]

C = TypeVar("C")


class FixEndpoint(Endpoint[FixConnection, C]):
    """An initiator's session that is connected and logged on anew whenever it ends.

    Define `on_message`, and `on_open` where there is something to ask for first.
    `Endpoint.can_recreate` sees why a session ended: a `SessionFault` (the Logon was
    refused, the heartbeats stopped) or `ConnectionClosed` after a Logout, with the
    code 0, as FIX has none.

    Args:
        target: `tcp://host:port`, `tls://host:port`, or where to connect to.
        session: An initiator's; belongs to the endpoint from then on.
        ssl_context: What to verify with. Makes a `ConnectionInfo` secure; a tls URL is
            secure, and verified, without one.
        outbox_limit: The most bytes that may wait for a slow counterparty.
        clock: For the session's times; by default that of the service.

    Raises:
        InvalidURL: If `target` is a text and none of the two URLs.
        TypeError: If the class does not define `on_message`.
    """

    def __init__(
        self,
        target: str | ConnectionInfo,
        session: FixSession,
        *,
        ssl_context: SSLContext | None = None,
        outbox_limit: int = DEFAULT_LIMIT,
        clock: Clock | None = None,
    ) -> None:
        if type(self).on_message is FixEndpoint.on_message:
            raise TypeError(f"{type(self).__name__} must define on_message")
        if isinstance(target, str):
            url = parse_url(target)
            info, secure = url.info, url.secure
        else:
            info, secure = target, ssl_context is not None
        super().__init__(info)
        self.session = session
        self.clock = clock
        self._secure = secure
        self._ssl_context = ssl_context
        self._outbox_limit = outbox_limit
        self._ending: Exception | None = None

    # -- what a user defines ---------------------------------------------------------

    def on_open(self, connection: FixConnection, context: C) -> None:
        """Begin: the counterparty has answered our Logon.

        Raises:
            Exception: Ends the connection as a failure.
        """

    def on_message(
        self, connection: FixConnection, message: Message, context: C
    ) -> None:
        """Take an application message; may send.

        Raises:
            Exception: Ends the connection as a failure.
        """

    def on_event(self, connection: FixConnection, event: Event, context: C) -> None:
        """Take what else happened: gaps, rejects, resets, garbled messages, the end."""

    # -- what a service calls --------------------------------------------------------

    def create(self, address: Address, context: C) -> FixConnection:
        """Begin a connection; the Logon leaves once it stands."""
        self._ending = None
        return FixConnection(
            self.session,
            self._dial(address),
            clock=self.clock,
            outbox_limit=self._outbox_limit,
        )

    def poll(self, target: FixConnection, context: C) -> int:
        """Read once and keep the session's time; return how much happened.

        Raises:
            SessionFault: When the session ended by a fault.
            ConnectionClosed: When it ended by a Logout.
            NetError: When the connection failed.
            Exception: What the user's methods raise.
        """
        events = target.poll()
        for event in events:
            self._take(target, event, context)
        if target.closed:
            raise self._ending or ConnectionClosed(0, "the session is over")
        return len(events)

    def _dial(self, address: Address) -> Stream:
        stream = TcpStream.connect(self.info, address)
        if not self._secure:
            return stream
        try:
            return TlsStream(stream, self._ssl_context)
        except BaseException:
            stream.close()
            raise

    def _take(self, target: FixConnection, event: Event, context: C) -> None:
        match event:
            case Message():
                self.on_message(target, event, context)
                return
            case LoggedOn():
                self.on_open(target, context)
            case LoggedOut(text):
                self._ending = ConnectionClosed(0, text, "remote")
            case SessionError(error):
                self._ending = error
            case _:
                pass
        self.on_event(target, event, context)
