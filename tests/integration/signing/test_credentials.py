import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Signing
from integration.signing import Credentials, Nonces
from integration.signing.credentials import secret_from_base64
from netcore.clock import ManualClock

MS = 1_000_000


def test_credentials_are_neither_shown_nor_pickled():
    credentials = Credentials(key="k3y", secret="s3cret", passphrase="phr4se")

    assert f"{credentials}" == "Credentials(***)"
    assert f"{credentials!r}" == "Credentials(***)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(credentials)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(credentials)


def test_nonces_are_the_time_but_never_the_same_twice():
    clock = ManualClock(now_ns=1_700_000_000_000 * MS)
    nonces = Nonces(clock, MS)

    assert [nonces(), nonces()] == [1_700_000_000_000, 1_700_000_000_001]
    clock.advance(1)
    assert nonces() == 1_700_000_001_000


@given(st.lists(st.integers(0, 10**6)))
def test_nonces_only_grow_whatever_the_clock_does(readings):
    clock = ManualClock()
    nonces = Nonces(clock, 1)
    seen = []
    for reading in readings:
        clock.set_wall(reading)
        seen.append(nonces())

    assert seen == sorted(set(seen))


def test_a_base64_secret_is_decoded():
    assert secret_from_base64("AAECAw==") == bytes(range(4))


@pytest.mark.parametrize("secret", ["not base64!", "AAA", "é"])
def test_a_secret_that_is_not_base64_is_refused_without_being_shown(secret):
    with pytest.raises(Signing) as caught:
        secret_from_base64(secret)

    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None
