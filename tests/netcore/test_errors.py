import inspect

import pytest

from netcore import errors
from netcore.errors import (
    BufferFull,
    ConnectError,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    EndpointLost,
    HandshakeError,
    InvalidURL,
    LocalError,
    NetError,
    ProtocolError,
    RemoteError,
    ReplayDivergence,
    ResolveTimeout,
    SocketOptionError,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
ERRORS = [cls for cls in CLASSES if issubclass(cls, BaseException)]


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_is_a_net_error_and_exported(cls):
    assert issubclass(cls, NetError)
    assert cls.__name__ in errors.__all__


@pytest.mark.parametrize("cls", set(ERRORS) - {NetError})
def test_every_error_is_either_local_or_remote(cls):
    assert issubclass(cls, LocalError) != issubclass(cls, RemoteError)


@pytest.mark.parametrize("cls", ERRORS)
def test_the_tree_in_the_docstring_names_every_error(cls):
    assert f" {cls.__name__}" in errors.__doc__


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (InvalidURL("x"), ValueError),
        (ConnectError("x", errno=111), OSError),
        (ConnectTimeout("x"), TimeoutError),
        (ResolveTimeout("x"), TimeoutError),
        (ConnectionLost("x", errno=104), ConnectionError),
        (SocketOptionError("rcvbuf", "no", errno=1), OSError),
    ],
)
def test_errors_can_be_caught_by_the_builtin_they_are(error, builtin):
    assert isinstance(error, builtin)


def test_os_errors_keep_number_and_words():
    error = ConnectError("cannot connect to a:1: refused", errno=111)

    assert error.errno == 111
    assert str(error) == "cannot connect to a:1: refused"


@pytest.mark.parametrize(
    ("error", "text", "fields"),
    [
        (
            BufferFull(10, 5, 12),
            "5 bytes do not fit behind the 10 that wait: the limit is 12; flush until "
            "the peer has taken some, or raise the limit",
            {"pending": 10, "size": 5, "limit": 12},
        ),
        (
            ConnectionClosed(1001, "going away", "remote"),
            "connection closed with code 1001 'going away', closed by remote",
            {"code": 1001, "reason": "going away", "initiated_by": "remote"},
        ),
        (
            ConnectionClosed(1005),
            "connection closed with code 1005",
            {"code": 1005, "reason": "", "initiated_by": ""},
        ),
        (
            ProtocolError(1002, "reserved bit set"),
            "reserved bit set (code 1002)",
            {"code": 1002, "text": "reserved bit set"},
        ),
        (
            HandshakeError(403, [("Server", "x")], b"no"),
            "the upgrade was answered with status 403",
            {"status": 403, "headers": (("Server", "x"),), "body": b"no"},
        ),
        (
            EndpointLost(3, "why", others=[(4, "too")]),
            "endpoint 3 will not be recreated: why (and 1 more in this turn)",
            {"handle": 3, "reason": "why", "others": ((4, "too"),)},
        ),
        (
            ReplayDivergence(7, "differs"),
            "at outbound byte 7: differs",
            {"offset": 7},
        ),
        (
            SocketOptionError("rcvbuf", "refused"),
            "socket option rcvbuf: refused",
            {"option": "rcvbuf", "errno": None},
        ),
    ],
)
def test_messages_say_what_and_fields_hold_it(error, text, fields):
    assert str(error) == text
    assert {name: getattr(error, name) for name in fields} == fields
