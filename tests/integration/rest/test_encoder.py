import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.rest.encoder import Base64Encoder, HexEncoder
from integration.rest.signer import HmacKey

VECTORS = Path(__file__).resolve().parents[3] / "../shared/data/wire/signing.json"


@given(st.binary())
def test_both_spellings_read_back(data):
    assert bytes.fromhex(HexEncoder().encode(data)) == data
    assert base64.b64decode(Base64Encoder().encode(data), validate=True) == data


def test_hexadecimal_digits_are_small():
    assert HexEncoder().encode(b"\xab\x00") == "ab00"


def test_base64_is_padded_and_of_the_standard_alphabet():
    assert Base64Encoder().encode(b"\xfb\xff\xfe\xfb") == "+//++w=="


def test_rfc_4231_case_1():
    # RFC 4231 §4.2
    mac = HmacKey(b"\x0b" * 20).sign(b"Hi There")

    assert HexEncoder().encode(mac) == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    assert Base64Encoder().encode(mac) == "sDRMYdjbOFNcqK/OrwvxK4gdwgDJgz2nJuk3bC4yz/c="


def test_the_published_vector_agrees():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} absent")
    rows = json.loads(VECTORS.read_text())
    row = next(r for r in rows if r["exchange"] == "rfc4231")

    mac = HmacKey(bytes.fromhex(row["key_hex"])).sign(row["message"].encode())

    assert HexEncoder().encode(mac) == row["signature"]
    assert Base64Encoder().encode(mac) == row["signature_b64"]
