import socket

import pytest

from netcore.inet import InterfaceAddress, address_of, addresses, interface_of


def loopback() -> str:
    return interface_of("127.0.0.1")


def test_loopback_is_among_the_addresses():
    assert InterfaceAddress(loopback(), "127.0.0.1") in addresses()


def test_every_address_can_be_bound():
    for found in addresses():
        with socket.socket(found.family, socket.SOCK_STREAM) as sock:
            where = (found.host, 0)
            if found.family is socket.AF_INET6:
                where = (found.host, 0, 0, found.scope_id)
            sock.bind(where)
            assert sock.getsockname()[0].partition("%")[0] == found.host


def test_an_interface_and_its_address_name_each_other():
    found = address_of(loopback())

    assert found.host == "127.0.0.1"
    assert interface_of(found.host) == found.interface


def test_link_local_addresses_come_last():
    for _, name in socket.if_nameindex():
        mine = [
            a
            for a in addresses()
            if a.interface == name and a.family is socket.AF_INET6
        ]
        if not mine:
            continue
        chosen = address_of(name, socket.AF_INET6)
        if any(not a.host.startswith("fe80") for a in mine):
            assert not chosen.host.startswith("fe80")
        else:
            assert chosen.scope_id == socket.if_nametoindex(name)


def test_an_unknown_interface_is_a_lookup_error_that_names_the_known():
    with pytest.raises(LookupError, match=f"'nosuch0'; there are .*{loopback()}"):
        address_of("nosuch0")


def test_an_interface_without_such_an_address_is_a_lookup_error():
    with pytest.raises(LookupError, match="has no AF_UNIX address"):
        address_of(loopback(), socket.AF_UNIX)


def test_an_address_of_nobody_here_is_a_lookup_error():
    with pytest.raises(
        LookupError, match=r"no network interface has .* 203\.0\.113\.9"
    ):
        interface_of("203.0.113.9")
