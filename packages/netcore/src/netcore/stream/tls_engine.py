"""Two ways to run OpenSSL without waiting: on a socket, or on memory.

An engine is a TLS session and its way to the peer. `netcore.stream.tls` holds the
states, the errors and the rules of a stream; here are only the calls into `ssl`, whose
own exceptions pass through.
"""

import enum
import socket
import ssl
from contextlib import suppress
from functools import partial
from typing import Protocol, final

from netcore.errors import BufferFull, NetError, RemoteError, SendMismatch
from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    collected_bytes,
    flush_stream,
)
from netcore.stream.tcp import TcpStream, drop_received

__all__ = [
    "MAX_RECORD",
    "Engine",
    "HasOptions",
    "KernelTls",
    "kernel_tls_of",
    "make_engine",
]

MAX_RECORD = 1 << 14
"""The most plaintext of one record (RFC 8446 §5.1)."""

# include/uapi/linux/tls.h
_SOL_TLS = 282
_TLS_TX = 1
_TLS_RX = 2
_CRYPTO_INFO_SIZE = 4


class KernelTls(enum.Flag):
    """Which directions the kernel en- and decrypts."""

    NONE = 0
    SEND = 1
    RECEIVE = 2


class HasOptions(Protocol):
    """A socket, as far as `kernel_tls_of` needs one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return the raw value of an option."""
        ...


def kernel_tls_of(sock: HasOptions) -> KernelTls:
    """Return which directions of a socket the kernel en- and decrypts."""
    found = KernelTls.NONE
    for flag, option in ((KernelTls.SEND, _TLS_TX), (KernelTls.RECEIVE, _TLS_RX)):
        # struct tls_crypto_info: version and cipher, two 16-bit numbers, zero while
        # off. Without the kernel's tls module there is no such option.
        with suppress(OSError):
            if any(sock.getsockopt(_SOL_TLS, option, _CRYPTO_INFO_SIZE)):
                found |= flag
    return found


class Engine(Protocol):
    """A TLS session and its way to the peer."""

    @property
    def session(self) -> ssl.SSLSocket | ssl.SSLObject:
        """OpenSSL's side of it."""
        ...

    @property
    def pending(self) -> bool:
        """Whether a read may bring something without the descriptor."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether records wait that the user no longer knows of."""
        ...

    @property
    def collected(self) -> int:
        """How many bytes layers below keep until they are flushed."""
        ...

    def flush(self) -> bool:
        """Send what layers below have collected; return whether all was taken."""
        ...

    def handshake(self) -> None:
        """Go on with the handshake; return when it is over, raise SSLWant… if not."""
        ...

    def read(self, limit: int, /) -> bytes:
        """Return plaintext, b"" after close_notify; raise SSLWant… if there is none."""
        ...

    def write(self, data: Buffer, /) -> int:
        """Return how many bytes became records; raise SSLWant… if none did."""
        ...

    def close(self, *, notify: bool) -> None:
        """Close everything below, after a close_notify if asked and possible."""
        ...

    def fileno(self) -> int:
        """Return the descriptor, -1 if there is none."""
        ...

    def kernel_tls(self) -> KernelTls:
        """Return which directions the kernel handles."""
        ...


def make_engine(
    inner: Stream,
    context: ssl.SSLContext,
    *,
    hostname: str | None,
    server_side: bool,
) -> Engine:
    """Return the engine that fits `inner`, which is the engine's from then on.

    Raises:
        OSError: If OpenSSL refuses, or the socket is not connected any more.
        ValueError: If `hostname` is not one that a certificate can name.
    """
    if isinstance(inner, TcpStream):
        return _SocketEngine(inner.detach(), context, hostname, server_side)
    return _BioEngine(inner, context, hostname, server_side)


@final
class _SocketEngine:
    """OpenSSL on the socket itself.

    CPython sets SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER (the retry may come from another
    place) and not SSL_MODE_ENABLE_PARTIAL_WRITE: of a long write that would block in
    the middle, OpenSSL has sent records without saying so. So one record is written at
    a time. When that would block, it is encrypted already: the retry sends *those*
    bytes whatever it is given, hence the comparison.
    """

    __slots__ = ("_retry", "read", "session")

    unsent = False  # a record that would block counts as not taken
    collected = 0  # there is nothing between OpenSSL and the kernel

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        hostname: str | None,
        server_side: bool,
    ) -> None:
        try:
            if hostname is not None:
                # `wrap_socket` would fail on it after taking the socket, and leak it.
                hostname.encode("idna")
            self.session = context.wrap_socket(
                sock,
                server_side=server_side,
                do_handshake_on_connect=False,
                # Else a cut-off connection looks like a clean end.
                suppress_ragged_eofs=False,
                server_hostname=hostname,
            )
        except BaseException:
            sock.close()
            raise
        self.read = self.session.read
        self._retry = b""

    @property
    def pending(self) -> bool:
        return self.session.pending() > 0

    def flush(self) -> bool:
        return True

    def handshake(self) -> None:
        self.session.do_handshake()

    def write(self, data: Buffer, /) -> int:
        if self._retry:
            _check_retry(memoryview(data).cast("B"), self._retry)
            data = self._retry
        elif len(data) > MAX_RECORD:
            data = memoryview(data).cast("B")[:MAX_RECORD]
        try:
            taken = self.session.write(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._retry = bytes(data)
            raise
        self._retry = b""
        return taken

    def close(self, *, notify: bool) -> None:
        if notify:
            # Would block, or the peer has gone: nobody is left to be told.
            with suppress(OSError, ValueError):
                self.session.unwrap()
        # The socket's own recv: what is dropped need not be decrypted.
        drop_received(partial(socket.socket.recv, self.session, RECEIVE_SIZE))
        self.session.close()

    def fileno(self) -> int:
        return self.session.fileno()

    def kernel_tls(self) -> KernelTls:
        return kernel_tls_of(self.session)


@final
class _BioEngine:
    """OpenSSL on two buffers in memory, carried to and from any stream.

    As on a socket, a write is done when the stream below has taken the whole record.
    """

    __slots__ = ("_inner", "_into", "_out", "_retry", "_starved", "_unsent", "session")

    def __init__(
        self,
        inner: Stream,
        context: ssl.SSLContext,
        hostname: str | None,
        server_side: bool,
    ) -> None:
        self._inner = inner
        self._into = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._unsent = b""
        self._retry = b""
        self._starved = True
        self.session = context.wrap_bio(
            self._into, self._out, server_side=server_side, server_hostname=hostname
        )

    @property
    def pending(self) -> bool:
        return not self._starved or self._inner.buffered

    @property
    def unsent(self) -> bool:
        return (bool(self._unsent) and not self._retry) or self._inner.want_write

    @property
    def collected(self) -> int:
        return collected_bytes(self._inner)

    def flush(self) -> bool:
        return flush_stream(self._inner)

    def handshake(self) -> None:
        while True:
            try:
                self.session.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                self.flush()  # nothing of the user's can be waiting yet
                self._pull()
            except ssl.SSLError:
                self._push_alert()
                raise
            else:
                self._push()
                if not self.flush() or self._unsent:
                    # The peer waits for our Finished: not over until it has left.
                    raise ssl.SSLWantWriteError
                self._starved = False
                return

    def read(self, limit: int, /) -> bytes:
        # A peer that takes nothing more may have said something before.
        with suppress(RemoteError):
            self._push_own()
        while True:
            try:
                data = self.session.read(limit)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                self._pull()
            except ssl.SSLError:
                self._push_alert()
                raise
            else:
                self._starved = False
                return data

    def write(self, data: Buffer, /) -> int:
        octets = memoryview(data).cast("B")
        if not self._retry:
            self._push()
            if self._unsent:
                raise ssl.SSLWantWriteError
            taken = self.session.write(octets[:MAX_RECORD])
            self._retry = bytes(octets[:taken])
        _check_retry(octets, self._retry)
        self._push()
        if self._unsent:
            raise ssl.SSLWantWriteError
        taken = len(self._retry)
        self._retry = b""
        return taken

    def close(self, *, notify: bool) -> None:
        if notify:
            # The peer's own close_notify has not come: ours is written all the same.
            with suppress(OSError, ValueError):
                self.session.unwrap()
            self._push_alert()
        drop_received(partial(self._inner.receive, RECEIVE_SIZE))
        self._inner.close()

    def fileno(self) -> int:
        return self._inner.fileno()

    def kernel_tls(self) -> KernelTls:
        return KernelTls.NONE

    def _push(self) -> None:
        """Carry records out as far as the stream below takes them."""
        while True:
            if not self._unsent:
                self._unsent = self._out.read()
                if not self._unsent:
                    return
            try:
                taken = self._inner.send(self._unsent)
            except BufferFull:
                if not self.collected:
                    raise  # a whole record will never fit
                return  # until the user has flushed
            if not taken:
                return
            self._unsent = self._unsent[taken:]

    def _push_own(self) -> None:
        """Carry out what TLS itself has to say; behind the user's bytes it waits."""
        alone = not self.collected
        self._push()
        if alone and self.collected:
            self.flush()

    def _push_alert(self) -> None:
        """Tell the peer why this is the end; it may have gone."""
        with suppress(NetError):
            self._push_own()

    def _pull(self) -> None:
        """Carry bytes in; raise SSLWantReadError if there are none."""
        data = self._inner.receive(RECEIVE_SIZE)
        if data is None:
            self._starved = True
            raise ssl.SSLWantReadError
        if data:
            self._starved = False
            self._into.write(data)
        else:
            self._into.write_eof()


def _check_retry(octets: memoryview, retry: bytes) -> None:
    """Raise unless the record that is partly sent is offered again."""
    if octets[: len(retry)] != retry:
        raise SendMismatch(
            f"{len(retry)} bytes that TLS has begun to send must be offered again "
            "first; use an Outbox"
        )
