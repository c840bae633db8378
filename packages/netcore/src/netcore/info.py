"""Where to connect to and how: values only, no socket is opened here.

`ConnectionInfo` names one host and port with the socket's wishes, `Address` is one
numeric answer of a resolver, `parse_url` reads the text a user writes. Looking a name
up is `netcore.dns`, connecting is `netcore.stream.tcp`.
"""

import re
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import final
from urllib.parse import quote, urlsplit

import msgspec

from netcore.errors import InvalidURL

__all__ = ["Address", "ConnectionInfo", "SocketOptions", "Url", "parse_url"]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The schemes that have one (RFC 9110 §4.2, RFC 6455 §3)."""

SECURE_SCHEMES = frozenset({"https", "wss", "tls"})
PLAIN_SCHEMES = frozenset({"http", "ws", "tcp"})

# Everything RFC 3986 lets stand in a path or query, and "%" since escapes are kept.
_KEPT_IN_TARGET = "!#$%&'()*+,/:;=?@[]~-._"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_MAX_PORT = 65535


@final
class SocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to set on a fresh socket before it connects; None leaves the default.

    Attributes:
        nodelay: TCP_NODELAY: send small segments at once.
        keepalive: SO_KEEPALIVE: notice a dead peer after the kernel's (long) time.
        quickack: TCP_QUICKACK (Linux): acknowledge at once. The kernel forgets the
            wish, so it is renewed after each read.
        rcvbuf: SO_RCVBUF in bytes.
        sndbuf: SO_SNDBUF in bytes.
        bind_to_device: SO_BINDTODEVICE: only use this network interface (Linux).
        busy_poll_us: SO_BUSY_POLL: microseconds to poll the device (Linux).
        prefer_busy_poll: SO_PREFER_BUSY_POLL (Linux 5.11, needs CAP_NET_ADMIN).
        busy_poll_budget: SO_BUSY_POLL_BUDGET in packets (Linux 5.11).
    """

    nodelay: bool | None = True
    keepalive: bool | None = True
    quickack: bool | None = None
    rcvbuf: int | None = None
    sndbuf: int | None = None
    bind_to_device: str | None = None
    busy_poll_us: int | None = None
    prefer_busy_poll: bool | None = None
    busy_poll_budget: int | None = None


@final
class Address(msgspec.Struct, frozen=True):
    """One numeric address to connect to.

    Attributes:
        host: An IPv4 or IPv6 address in text.
        port: 0 to 65535.
        scope_id: The interface of a link-local IPv6 address, 0 if none.
    """

    host: str
    port: int
    scope_id: int = 0

    def __post_init__(self) -> None:
        ip_address(self.host)
        _check_port(self.port)

    def __str__(self) -> str:
        return _join(self.host, self.port)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """The form in which the socket module wants it."""
        if self.family is socket.AF_INET6:
            return (self.host, self.port, 0, self.scope_id)
        return (self.host, self.port)


class _Origin(msgspec.Struct, frozen=True):
    host: str
    port: int


@final
class ConnectionInfo(_Origin, frozen=True, kw_only=True):
    """A host and port, and how the socket to it is made.

    Attributes:
        host: A name or a numeric address, without brackets.
        port: 0 to 65535.
        interface: The network interface to leave by, such as "eth1": its first
            address of the peer's family becomes the source address.
        source: The local address to leave from; excludes `interface`.
        cpu: SO_INCOMING_CPU: the processor whose queue should serve the socket.
        options: The socket's options.
        configure: Called with the fresh socket after `options`, before binding.

    Raises:
        LookupError: If there is no such `interface`.
        ValueError: If a field is out of its range.
    """

    interface: str | None = None
    source: str | None = None
    cpu: int | None = None
    options: SocketOptions = SocketOptions()
    configure: Callable[[socket.socket], None] | None = None

    def __post_init__(self) -> None:
        if not self.host or _FORBIDDEN.search(self.host) or "[" in self.host:
            raise ValueError(f"host must be a name or an address, was {self.host!r}")
        _check_port(self.port)
        if self.interface is not None and self.source is not None:
            raise ValueError("give either an interface or a source address, not both")
        if self.source is not None:
            ip_address(self.source)
        if self.interface is not None:
            _check_interface(self.interface)

    def __str__(self) -> str:
        return _join(self.host, self.port)

    @classmethod
    def from_url(cls, url: str) -> "ConnectionInfo":
        """Return the host and port that `url` names.

        Raises:
            InvalidURL: If it names none.
        """
        return parse_url(url).info


@final
class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A URL taken apart for connecting.

    Attributes:
        scheme: In lower case.
        host: ASCII, in lower case, without brackets.
        port: The given one or the scheme's.
        target: Path and query as they go on the wire, "/" at least.
    """

    scheme: str
    host: str
    port: int
    target: str = "/"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def secure(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme in SECURE_SCHEMES

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        if self.port == DEFAULT_PORTS.get(self.scheme):
            return _bracketed(self.host)
        return _join(self.host, self.port)

    @property
    def info(self) -> ConnectionInfo:
        """The host and port as connection info with default options."""
        return ConnectionInfo(self.host, self.port)


def parse_url(url: str) -> Url:
    """Return the parts of an http, https, ws, wss, tcp or tls URL.

    Non-ASCII hosts become their IDNA form and non-ASCII targets percent-encoded
    UTF-8. A fragment is an error for WebSocket URLs (RFC 6455 §3) and dropped
    otherwise, since it never goes on the wire.

    Raises:
        InvalidURL: If the text is not such a URL, has no host, lacks a port where
            the scheme has no default, or carries credentials (send these as a
            header instead).
    """
    if _FORBIDDEN.search(url):
        raise InvalidURL(f"a URL holds no blanks or control characters: {url!r}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidURL(f"{url!r}: {exc}") from exc
    scheme = parts.scheme
    if scheme not in SECURE_SCHEMES | PLAIN_SCHEMES:
        known = ", ".join(sorted(SECURE_SCHEMES | PLAIN_SCHEMES))
        raise InvalidURL(f"{url!r}: scheme must be one of {known}, was {scheme!r}")
    if "@" in parts.netloc:
        raise InvalidURL(f"the {scheme} URL carries credentials; send them as a header")
    if port is None:
        port = DEFAULT_PORTS.get(scheme)
    if port is None:
        raise InvalidURL(f"{url!r}: {scheme} has no default port, give one")
    if parts.fragment and scheme in {"ws", "wss"}:
        raise InvalidURL(f"{url!r}: a WebSocket URL has no fragment (RFC 6455 §3)")
    host = _ascii_host(parts.hostname, url)
    target = quote(parts.path or "/", safe=_KEPT_IN_TARGET)
    if parts.query:
        target += "?" + quote(parts.query, safe=_KEPT_IN_TARGET)
    return Url(scheme=scheme, host=host, port=port, target=target)


def _ascii_host(host: str | None, url: str) -> str:
    if not host:
        raise InvalidURL(f"{url!r}: there is no host")
    if host.isascii():
        return host
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError as exc:
        raise InvalidURL(f"{url!r}: host {host!r} has no IDNA form: {exc}") from exc
    # Full-width forms of characters become the characters themselves (RFC 3491).
    if _FORBIDDEN.search(name) or set(name) & set("/?#@:[]"):
        raise InvalidURL(f"{url!r}: host {host!r} means {name!r}, which is no host")
    return name


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _join(host: str, port: int) -> str:
    return f"{_bracketed(host)}:{port}"


def _check_port(port: int) -> None:
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"port must be in 0..{_MAX_PORT}, was {port}")


def _check_interface(name: str) -> None:
    try:
        socket.if_nametoindex(name)
    except OSError as exc:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise LookupError(f"no network interface {name!r}; there are {known}") from exc
