import errno

import pytest

from netcore.stream.tls_engine import KernelTls, kernel_tls_of

# include/uapi/linux/tls.h: SOL_TLS 282, TLS_TX 1, TLS_RX 2; version 0x0304 and
# cipher 52 (AES-GCM-256) as the kernel returns them, zeros while it does nothing.
ON = b"\x04\x03\x34\x00"
OFF = bytes(4)


class Kernel:
    """A socket of a kernel with, or without, its tls module."""

    def __init__(self, options):
        self.options = options

    def getsockopt(self, level, option, size):
        assert (level, size) == (282, 4)
        if option not in self.options:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return self.options[option]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, KernelTls.NONE),
        ({1: OFF, 2: OFF}, KernelTls.NONE),
        ({1: ON}, KernelTls.SEND),
        ({1: OFF, 2: ON}, KernelTls.RECEIVE),
        ({1: ON, 2: ON}, KernelTls.SEND | KernelTls.RECEIVE),
    ],
)
def test_the_kernel_tells_which_directions_it_handles(options, expected):
    assert kernel_tls_of(Kernel(options)) == expected
