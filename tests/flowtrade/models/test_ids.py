"""The layout of ids."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowtrade.models.ids import (
    IdError,
    IdTag,
    are_canonical,
    canonical_id,
    product_payload,
    uuid8,
)

SECONDS = st.integers(0, 2**48 - 1)
PAYLOAD = st.integers(0, 2**56 - 1)


@given(st.sampled_from(IdTag), SECONDS, PAYLOAD)
def test_an_id_is_a_uuid_of_version_8_that_reassembles(tag, seconds, payload):
    uuid = UUID(uuid8(tag, seconds, payload))

    high, low = uuid.int >> 64, uuid.int & (2**64 - 1)
    assert uuid.version == 8
    assert uuid.variant == "specified in RFC 4122"
    assert low >> 60 == tag
    assert low & (2**56 - 1) == payload
    head = (high >> 16) << 16
    assert head | ((high & 0xFFF) << 4) | ((low >> 56) & 0xF) == seconds


@given(SECONDS, st.integers(0, 2**32 - 1))
def test_forward_and_option_differ_in_the_last_byte_alone(seconds, duration):
    forward = uuid8(IdTag.PRODUCT, seconds, product_payload(duration, 0))
    option = uuid8(IdTag.PRODUCT, seconds, product_payload(duration, 1))

    assert forward[:-2] == option[:-2]
    assert (forward[-2:], option[-2:]) == ("00", "01")


@given(SECONDS, SECONDS, PAYLOAD, PAYLOAD)
def test_ids_sort_by_their_second(a, b, x, y):
    if a < b:
        assert uuid8(IdTag.DEMAND, a, x) < uuid8(IdTag.DEMAND, b, y)


@pytest.mark.parametrize(
    ("seconds", "payload"), [(-1, 0), (2**48, 0), (0, -1), (0, 2**56)]
)
def test_what_does_not_fit_is_refused(seconds, payload):
    with pytest.raises(ValueError, match="do not fit"):
        uuid8(IdTag.DEMAND, seconds, payload)


@given(st.uuids())
def test_every_spelling_of_a_uuid_becomes_one(uuid):
    for text in (str(uuid), str(uuid).upper(), uuid.hex):
        assert canonical_id(text) == str(uuid)


@pytest.mark.parametrize(
    "text", ["", "x", "{" + "0" * 32 + "}", "0" * 31, "urn:uuid:1"]
)
def test_what_is_no_uuid_is_refused(text):
    with pytest.raises(IdError):
        canonical_id(text)


ODD = ["", "x", "a" * 36, "-" * 36, "é" * 36, "0" * 35 + "\n", "\u0660" * 36]
SPELLINGS = [
    str.upper,
    lambda t: t.replace("-", ""),
    lambda t: t + "0",
    lambda t: t[1:],
]
texts = st.uuids().map(str) | st.sampled_from(ODD)
spelled = st.tuples(texts, st.sampled_from([*SPELLINGS, str, str, str])).map(
    lambda pair: pair[1](pair[0])
)


@given(st.lists(spelled, max_size=4) | st.lists(st.uuids().map(str), max_size=4))
def test_all_of_a_list_are_canonical_as_each_of_it_is(found):
    def is_canonical(text):
        try:
            return canonical_id(text) == text
        except IdError:
            return False

    assert are_canonical(found) == all(map(is_canonical, found))


@given(st.uuids().map(str), st.uuids().map(str), st.integers(1, 35))
def test_ids_cut_at_the_wrong_place_are_not_canonical(one, other, cut):
    both = one + other

    assert not are_canonical([both[:cut], both[cut:]])
    assert are_canonical([both[:36], both[36:]])
