"""Close frames say what RFC 6455 §7.4 lets them say."""

import pytest

from netcore.ws.closing import Closing, check_close, decode_close, encode_close
from netcore.ws.frames import Fault

LEGAL = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
ILLEGAL = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", LEGAL)
def test_legal_codes_are_read_back_with_their_reason(code):
    assert decode_close(encode_close(code, "weil ü é")) == Closing(code, "weil ü é")


@pytest.mark.parametrize("code", ILLEGAL)
def test_illegal_codes_break_the_rules(code):
    fault = decode_close(code.to_bytes(2, "big") + b"why")

    assert isinstance(fault, Fault)
    assert fault.code == 1002
    assert str(code) in fault.text


@pytest.mark.parametrize("code", [*(set(ILLEGAL) - {1005}), -1, 70000])
def test_illegal_codes_cannot_be_sent(code):
    with pytest.raises(ValueError, match=str(code)):
        encode_close(code)


def test_an_empty_body_stands_for_no_status():
    assert decode_close(b"") == Closing(1005, "")
    assert encode_close(1005) == b""


def test_no_status_has_no_reason():
    with pytest.raises(ValueError, match="1005"):
        check_close(1005, "but why")


def test_half_a_code_and_a_reason_that_is_not_utf8_are_faults():
    half, broken = decode_close(b"\x03"), decode_close(b"\x03\xe8\xff")

    assert isinstance(half, Fault)
    assert isinstance(broken, Fault)
    assert (half.code, broken.code) == (1002, 1007)


def test_a_reason_fits_a_control_frame():
    assert len(encode_close(1000, "é" * 61)) == 124
    with pytest.raises(ValueError, match="124"):
        encode_close(1000, "é" * 62)
