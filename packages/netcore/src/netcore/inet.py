"""Local addresses of network interfaces, asked from the operating system.

`getifaddrs(3)` through ctypes: the standard library only tells interfaces' names, and
SIOCGIFADDR knows neither IPv6 nor a second address.
"""

import ctypes
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import final

import msgspec

__all__ = ["InterfaceAddress", "address_of", "addresses", "interface_of"]


@final
class InterfaceAddress(msgspec.Struct, frozen=True):
    """One address of one network interface.

    Attributes:
        interface: Such as "eth0".
        host: The address in text.
        scope_id: The interface's number for a link-local IPv6 address, else 0.
    """

    interface: str
    host: str
    scope_id: int = 0

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def addresses() -> list[InterfaceAddress]:
    """Return every IPv4 and IPv6 address of this machine, in the system's order.

    Raises:
        OSError: If the system does not tell.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "getifaddrs failed")
    try:
        return list(_walk(first))
    finally:
        libc.freeifaddrs(first)


def address_of(
    interface: str, family: socket.AddressFamily = socket.AF_INET
) -> InterfaceAddress:
    """Return the first address of `interface`, a link-local one only if it must be.

    Raises:
        LookupError: If there is no such interface, or it has no such address.
    """
    mine = [a for a in addresses() if a.interface == interface]
    found = [a for a in mine if a.family == family]
    if found:
        return min(found, key=lambda a: ip_address(a.host).is_link_local)
    if not mine and interface not in {name for _, name in socket.if_nameindex()}:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise LookupError(f"no network interface {interface!r}; there are {known}")
    raise LookupError(f"interface {interface!r} has no {family.name} address")


def interface_of(address: str) -> str:
    """Return the name of the interface that owns `address`.

    Raises:
        LookupError: If none does.
        ValueError: If it is not an address.
    """
    wanted = ip_address(address)
    for found in addresses():
        if ip_address(found.host) == wanted:
            return found.interface
    raise LookupError(f"no network interface has the address {address}")


class _IfAddrs(ctypes.Structure):
    """The head of `struct ifaddrs`, the same on Linux, macOS and the BSDs."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]

# Offsets in struct sockaddr_in and sockaddr_in6, the same everywhere.
_IN_ADDRESS = slice(4, 8)
_IN6_ADDRESS = slice(8, 24)
_IN6_SCOPE = slice(24, 28)
_IN6_SIZE = 28


def _walk(entry: "ctypes._Pointer[_IfAddrs]") -> Iterator[InterfaceAddress]:
    while bool(entry):  # a null pointer is false
        found = _read(entry.contents)
        if found is not None:
            yield found
        entry = entry.contents.next


def _read(entry: _IfAddrs) -> InterfaceAddress | None:
    if not entry.address:
        return None
    name = entry.name.decode()
    # sa_family is 16 bits wide on Linux; elsewhere 8 bits behind a length byte.
    # AF_INET and AF_INET6 fit into one byte, so byte order decides where it is.
    head = ctypes.string_at(entry.address, 2)
    family = head[1] if head[1] else head[0]
    if family == socket.AF_INET:
        raw = ctypes.string_at(entry.address, _IN_ADDRESS.stop)
        return InterfaceAddress(name, socket.inet_ntop(family, raw[_IN_ADDRESS]))
    if family == socket.AF_INET6:
        raw = ctypes.string_at(entry.address, _IN6_SIZE)
        host = socket.inet_ntop(family, raw[_IN6_ADDRESS])
        scope = int.from_bytes(raw[_IN6_SCOPE], "little")
        return InterfaceAddress(name, host, scope)
    return None
