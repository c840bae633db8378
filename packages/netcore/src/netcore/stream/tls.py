"""TLS over another stream, by OpenSSL through the standard library.

Nothing here is cryptography of ours: `ssl` shakes hands, checks certificates and moves
records. This module drives it without waiting, and says what went wrong in one
distinct error for each cause that needs another remedy.

Over a `TcpStream` the socket is given to OpenSSL (`ssl.SSLSocket`): measured 2.5 µs
per round trip faster than copying through memory, and the only way to kernel TLS.
Over any other stream (memory, chaos, a proxy's tunnel) records pass through
`ssl.MemoryBIO`. Both are *engines* (`netcore.stream.tls_engine`) behind the same calls.

::

    CONNECTING ──inner connected──▶ HANDSHAKING ──Finished──▶ OPEN
        └───────────────┬──────────────┘                       │
                        ▼                                      ▼
                     FAILED ───────────── close() ─────────▶ CLOSED

A read of OpenSSL returns one record at most (16 KiB). Reading on until it would block
makes large batches, but costs a failed read, a fifth of a round trip (measured: 3 of
17 µs). So `receive` reads on only while it is behind: after a full record, or if the
call before this one returned bytes, too. What OpenSSL holds of a record that no
selector sees is told by `buffered`.
"""

import enum
import ssl
from functools import cache
from typing import final

from netcore.errors import (
    CertificateError,
    CertificateExpired,
    ConnectionLost,
    NetError,
    SendMismatch,
    StreamClosed,
    TlsError,
    TruncatedStream,
    UntrustedCertificate,
    WrongHost,
)
from netcore.info import ConnectionInfo
from netcore.stream.base import (
    RECEIVE_SIZE,
    Buffer,
    Stream,
    collected_bytes,
    flush_stream,
)
from netcore.stream.tls_engine import MAX_RECORD, Engine, KernelTls, make_engine

__all__ = ["KernelTls", "TlsStream", "insecure_context", "secure_context"]

# ssl.OP_ENABLE_KTLS has a name from Python 3.12 on; SSL_OP_BIT(3) of openssl/ssl.h.
_OP_ENABLE_KTLS = 1 << 3

# X509_V_ERR_* of openssl/x509_vfy.h
_HOST_CODES = frozenset({62, 63, 64})  # host name, e-mail, IP address
_TIME_CODES = frozenset({9, 10, 11, 12, 13, 14})  # not yet valid, expired, CRL's times
_TRUST_CODES = frozenset({2, 18, 19, 20, 21, 24, 27, 28})  # no issuer, self-signed, …

# From 3.0 on OpenSSL tells an end (UNEXPECTED_EOF_WHILE_READING) from an I/O error.
_NAMES_EOF = ssl.OPENSSL_VERSION_INFO >= (3,)

# What OpenSSL says when the peer's first bytes are not TLS.
_NOT_TLS = frozenset(
    {
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)


class _State(enum.Enum):
    CONNECTING = "connecting"
    HANDSHAKING = "shaking hands"
    OPEN = "open"
    FAILED = "failed"
    CLOSED = "closed"


class _Wait(enum.Enum):
    """What the handshake, or a read in the middle of one, waits for."""

    NOTHING = enum.auto()
    READ = enum.auto()
    WRITE = enum.auto()


_OPEN = _State.OPEN


def secure_context(cafile: str | None = None) -> ssl.SSLContext:
    """Return a client context that verifies certificates and host names.

    TLS 1.2 at least. `SSLKEYLOGFILE` in the environment is honoured, as in browsers.

    Args:
        cafile: PEM file of the authorities to trust instead of the system's.
    """
    return ssl.create_default_context(cafile=cafile)


def insecure_context() -> ssl.SSLContext:
    """Return a client context that accepts *any* certificate: for tests alone.

    Whoever sits on the way can read and change everything, keys and orders included.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@final
class TlsStream:
    """A TLS client, or server, over another stream.

    Args:
        inner: The stream below, connected or still connecting; it belongs to the
            TLS layer from then on.
        context: By default one like `secure_context()`, made once per process.
        server_hostname: Whom the certificate must name (and SNI asks for); by
            default the host of `inner.info`.
        server_side: Whether to answer the handshake; needs a context with a
            certificate.
        ktls: Whether to let the kernel take the records over (Linux with its `tls`
            module, OpenSSL built for it). Sets an option of `context`. Never an
            error if it cannot: `kernel_tls` tells.
    """

    __slots__ = (
        "_behind",
        "_context",
        "_engine",
        "_fault",
        "_hostname",
        "_info",
        "_inner",
        "_send_fault",
        "_server_side",
        "_state",
        "_wait",
    )

    def __init__(
        self,
        inner: Stream,
        context: ssl.SSLContext | None = None,
        *,
        server_hostname: str | None = None,
        server_side: bool = False,
        ktls: bool = False,
    ) -> None:
        if context is None:
            if server_side:
                raise ValueError("a TLS server needs a context with a certificate")
            context = _ktls_default() if ktls else _default()
        elif ktls:
            context.options |= _OP_ENABLE_KTLS
        self._inner = inner
        self._info = inner.info
        self._context = context
        self._server_side = server_side
        self._hostname = None
        if not server_side:
            # RFC 6066 §3: the name goes without the root's dot.
            self._hostname = (server_hostname or self._info.host).rstrip(".")
        self._state = _State.CONNECTING
        self._wait = _Wait.NOTHING
        self._behind = False
        self._engine: Engine | None = None
        self._fault: NetError | None = None
        self._send_fault: NetError | None = None

    def __repr__(self) -> str:
        return f"<TlsStream to {self._info}, {self._state.value}>"

    @property
    def info(self) -> ConnectionInfo:
        """Whom the stream talks to."""
        return self._info

    @property
    def buffered(self) -> bool:
        """Whether plaintext waits inside, or the handshake can go on at once."""
        match self._state:
            case _State.OPEN:
                return self._fault is not None or self._live.pending
            case _State.HANDSHAKING:
                return self._wait is _Wait.NOTHING or self._live.pending
            case _State.CONNECTING:
                return self._inner.buffered
            case _:
                return False

    @property
    def want_write(self) -> bool:
        """Whether the handshake, or a record of TLS's own, waits to be written."""
        match self._state:
            case _State.OPEN | _State.HANDSHAKING:
                return self._wait is _Wait.WRITE or self._live.unsent
            case _State.CONNECTING:
                return self._inner.want_write
            case _:
                return False

    @property
    def version(self) -> str | None:
        """The protocol agreed on, such as "TLSv1.3"; None before the handshake."""
        return self._engine.session.version() if self._engine else None

    @property
    def alpn_protocol(self) -> str | None:
        """The application protocol agreed on (RFC 7301), None without one."""
        return self._engine.session.selected_alpn_protocol() if self._engine else None

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER; None if it has shown none."""
        return self._engine.session.getpeercert(True) if self._engine else None

    @property
    def kernel_tls(self) -> KernelTls:
        """Which directions the kernel handles."""
        return self._engine.kernel_tls() if self._engine else KernelTls.NONE

    def receive(self, limit: int = RECEIVE_SIZE, /) -> bytes | None:
        """Return up to `limit` bytes, None if that would block, b"" at the end.

        Raises:
            TruncatedStream: If the connection ended without close_notify.
            TlsError: If the handshake failed or a record was damaged.
            ConnectError: If the connection was refused.
            ConnectionLost: If the connection broke.
            StreamClosed: After `close`.
            ValueError: If `limit` is below 1.
        """
        if self._state is not _OPEN and not self.connected():
            return None
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, was {limit}")
        read = self._live.read
        pieces: list[bytes] = []
        left = limit
        behind, self._behind = self._behind, True
        try:
            while left > 0:
                data = read(left)
                if not data:  # close_notify; it stays, so the next call tells it
                    break
                pieces.append(data)
                left -= len(data)
                if not behind and len(data) < MAX_RECORD:
                    break
        except ssl.SSLWantReadError:
            self._behind = False
            self._wait = _Wait.NOTHING
            if not pieces:
                return None
        except ssl.SSLWantWriteError:
            self._behind = False
            self._wait = _Wait.WRITE
            if not pieces:
                return None
        except (OSError, NetError) as exc:
            self._fault = self._mapped(exc, "receiving")
            if not pieces:
                raise self._fault from _cause(exc)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, data: Buffer, /) -> int:
        """Return how many bytes of `data` were taken, 0 if it would block.

        Raises:
            SendMismatch: If `data` does not go on with what was not taken before.
            TlsError: If the handshake failed.
            ConnectError: If the connection was refused.
            ConnectionLost: If the connection broke.
            StreamClosed: After `close`.
        """
        if self._state is not _OPEN and not self.connected():
            return 0
        if self._send_fault is not None:
            raise self._send_fault.with_traceback(None)
        if not data:
            return 0  # even while a blocked record waits to be offered again
        write = self._live.write
        taken = 0
        try:
            taken = write(data)
            view = memoryview(data).cast("B") if taken < len(data) else None
            while view is not None and taken < len(view):
                taken += write(view[taken:])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return taken
        except SendMismatch:
            raise
        except (OSError, NetError) as exc:
            self._send_fault = self._mapped(exc, "sending")
            raise self._send_fault from _cause(exc)
        return taken

    @property
    def pending_bytes(self) -> int:
        """How many bytes of records layers below have collected."""
        if self._state is _State.CLOSED:
            return 0
        if self._engine is None:
            return collected_bytes(self._inner)
        return self._engine.collected

    def flush(self) -> bool:
        """Send what layers below have collected; return whether all was taken.

        Raises:
            NetError: What the stream below raises.
            StreamClosed: After `close`.
        """
        if self._state is _State.CLOSED:
            raise StreamClosed(f"{self!r} was closed before")
        return (
            flush_stream(self._inner) if self._engine is None else self._engine.flush()
        )

    def close(self) -> None:
        """Say close_notify if that does not block, and close the stream below."""
        if self._state is _State.CLOSED:
            return
        if self._engine is None:
            self._inner.close()
        else:
            self._engine.close(notify=self._state is _OPEN)
        self._state = _State.CLOSED

    def fileno(self) -> int:
        """Return the descriptor of the stream below, -1 after `close`."""
        if self._state is _State.CLOSED:
            return -1
        return self._inner.fileno() if self._engine is None else self._engine.fileno()

    def connected(self) -> bool:
        """Go on with the handshake; return whether it is over.

        Raises:
            ConnectError: If the connection was refused.
            TlsError: If the handshake failed; again at every later call.
            StreamClosed: After `close`.
        """
        match self._state:
            case _State.OPEN:
                return True
            case _State.CLOSED:
                raise StreamClosed(f"{self!r} was closed before")
            case _State.CONNECTING:
                if not self._inner.connected():
                    return False
                self._start()
            case _State.HANDSHAKING | _State.FAILED:
                pass
        return self._handshake()

    @property
    def _live(self) -> "Engine":
        if self._engine is None:
            raise StreamClosed(f"{self!r} has no TLS session")
        return self._engine

    def _start(self) -> None:
        """Put the engine over the stream below, which is connected by now."""
        try:
            self._engine = make_engine(
                self._inner,
                self._context,
                hostname=self._hostname,
                server_side=self._server_side,
            )
        except (OSError, ValueError) as exc:
            self._inner.close()
            self._state = _State.FAILED
            self._fault = TlsError(f"cannot start TLS with {self._info}: {exc}")
            raise self._fault from exc
        self._state = _State.HANDSHAKING

    def _handshake(self) -> bool:
        if self._fault is not None:
            raise self._fault.with_traceback(None)
        try:
            self._live.handshake()
        except ssl.SSLWantReadError:
            self._wait = _Wait.READ
            return False
        except ssl.SSLWantWriteError:
            self._wait = _Wait.WRITE
            return False
        except (OSError, NetError) as exc:
            self._state = _State.FAILED
            self._fault = self._mapped(exc, "shaking hands")
            raise self._fault from _cause(exc)
        self._wait = _Wait.NOTHING
        self._state = _OPEN
        return True

    def _mapped(self, exc: OSError | NetError, doing: str) -> NetError:
        """Return our error for one of the ssl or socket module's."""
        if isinstance(exc, NetError):
            return exc
        if isinstance(exc, ssl.SSLCertVerificationError):
            return self._certificate_error(exc)
        if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            if self._state is _OPEN and _NAMES_EOF and not exc.reason:
                # The socket failed, and its errno was lost on the way through OpenSSL.
                return ConnectionLost(f"connection to {self._info} broke while {doing}")
            if self._state is _OPEN:
                return TruncatedStream(
                    f"{self._info} ended the connection without close_notify: "
                    "the end may have been cut off",
                    reason=exc.reason or "",
                )
            return TlsError(
                f"{self._info} ended the connection during the TLS handshake",
                reason=exc.reason or "",
            )
        if isinstance(exc, ssl.SSLError):
            return self._tls_error(exc, doing)
        return ConnectionLost(
            f"connection to {self._info} broke while {doing}: {exc.strerror}",
            errno=exc.errno,
        )

    def _tls_error(self, exc: ssl.SSLError, doing: str) -> TlsError:
        reason = exc.reason or ""
        if reason in _NOT_TLS and self._state is not _OPEN:
            text = f"{self._info} does not speak TLS on this port ({reason})"
        elif "ALERT" in reason:
            text = f"{self._info} refused the TLS session: {reason}"
        else:
            text = f"TLS with {self._info} failed while {doing}: {reason or exc}"
        return TlsError(text, reason=reason)

    def _certificate_error(self, exc: ssl.SSLCertVerificationError) -> CertificateError:
        code = exc.verify_code
        said = f"{exc.verify_message} (code {code})"
        if code in _HOST_CODES:
            kind: type[CertificateError] = WrongHost
            text = f"the certificate of {self._info} is not for {self._hostname}"
        elif code in _TIME_CODES:
            kind = CertificateExpired
            text = f"the certificate of {self._info} is out of its time"
        elif code in _TRUST_CODES:
            kind = UntrustedCertificate
            text = f"the certificate of {self._info} is not signed by one we trust"
        else:
            kind = CertificateError
            text = f"the certificate of {self._info} was not accepted"
        return kind(f"{text}: {said}", reason=exc.reason or "", verify_code=code)


@cache
def _default() -> ssl.SSLContext:
    """Reading the system's authorities takes tens of milliseconds: once will do."""
    return secure_context()


@cache
def _ktls_default() -> ssl.SSLContext:
    context = secure_context()
    context.options |= _OP_ENABLE_KTLS
    return context


def _cause(exc: OSError | NetError) -> BaseException | None:
    """Return what to raise from: nothing if the error was mapped below already."""
    return exc.__cause__ if isinstance(exc, NetError) else exc
