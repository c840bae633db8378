"""Tokens: claims, time, rotation, the cache."""

from uuid import UUID

import msgspec
import pytest

from flowtrade.auth import (
    FormAuthorizer,
    JwtAuthorizer,
    JwtPolicy,
    SigningKey,
    generate_jwt,
)
from flowtrade.errors import InvalidRequest, Unauthorized
from flowtrade.models.ids import IdError
from netcore.clock import ManualClock

SECRET = "a secret of thirty-two characters!"
KEY = SigningKey.from_secret(SECRET)
BIDDER = str(UUID(int=1))
NOW = 1_700_000_000
IN_AN_HOUR = NOW + 3600


def token(key=KEY, **claims):
    return key.sign(msgspec.json.encode(claims))


@pytest.fixture
def clock():
    return ManualClock(NOW * 10**9)


@pytest.fixture
def authorizer(clock):
    return JwtAuthorizer([KEY], clock=clock)


async def test_a_bidders_token_is_good_for_its_own_bids(authorizer):
    made = generate_jwt(BIDDER, SECRET, now=NOW * 10**9)

    grant = await authorizer.authorize(made)

    assert grant.can_create_bid() == BIDDER
    assert grant.can_query_bid() == (BIDDER,)
    assert grant.can_read_bid(BIDDER)
    assert grant.can_update_bid(BIDDER)
    assert not grant.can_read_bid(str(UUID(int=2)))
    assert grant.can_view_products()
    assert not grant.can_manage_products()
    assert not grant.can_run_batch()


async def test_an_administrators_token_needs_no_bidder(authorizer):
    made = generate_jwt(None, KEY, admin=True, now=NOW * 10**9)

    grant = await authorizer.authorize(made)

    assert grant.can_manage_products()
    assert grant.can_run_batch()
    assert grant.can_create_bid() is None
    assert grant.can_query_bid() == ()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": NOW - 31},
        {"exp": "tomorrow"},
        {"exp": str(IN_AN_HOUR)},
        {"exp": True},
        {"exp": -1},
        {"exp": 1e300},
        {"exp": None},
        {"exp": IN_AN_HOUR, "nbf": NOW + 31},
        {"exp": IN_AN_HOUR, "iat": NOW + 31},
        {"exp": IN_AN_HOUR, "sub": "alice"},
        {"exp": IN_AN_HOUR, "sub": 7},
        {"exp": IN_AN_HOUR, "sub": [BIDDER]},
        {"exp": IN_AN_HOUR, "admin": "false"},
        {"exp": IN_AN_HOUR, "admin": "true"},
        {"exp": IN_AN_HOUR, "admin": 1},
        {"exp": IN_AN_HOUR, "admin": None},
        {"exp": IN_AN_HOUR, "aud": "elsewhere"},
        {"exp": IN_AN_HOUR, "aud": []},
    ],
)
async def test_claims_are_read_strictly(authorizer, claims):
    with pytest.raises(Unauthorized):
        await authorizer.authorize(token(**claims))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"{", b"\xff", b'"x"'])
async def test_a_payload_that_is_no_claims_is_refused(authorizer, payload):
    with pytest.raises(Unauthorized):
        await authorizer.authorize(KEY.sign(payload))


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xc0\x80"])
async def test_claims_that_are_not_read_are_utf_8_all_the_same(authorizer, bad):
    payload = b'{"exp": %d, "nick": "%b"}'
    await authorizer.authorize(KEY.sign(payload % (IN_AN_HOUR, "é".encode())))

    with pytest.raises(Unauthorized):
        await authorizer.authorize(KEY.sign(payload % (IN_AN_HOUR, bad)))


async def test_clocks_may_differ_by_the_leeway(authorizer):
    for claims in ({"exp": NOW - 29}, {"exp": IN_AN_HOUR, "nbf": NOW + 29}):
        await authorizer.authorize(token(**claims))


async def test_a_remembered_token_expires_all_the_same(authorizer, clock):
    made = token(sub=BIDDER, exp=NOW + 10)
    await authorizer.authorize(made)
    clock.advance(39)
    await authorizer.authorize(made)
    clock.advance(1)

    with pytest.raises(Unauthorized, match="expired"):
        await authorizer.authorize(made)


async def test_a_policy_names_issuer_and_audience(clock):
    policy = JwtPolicy(issuer="us", audience="flowtrade")
    strict = JwtAuthorizer([KEY], clock=clock, policy=policy)
    good = {"exp": IN_AN_HOUR, "iss": "us", "aud": ["x", "flowtrade"]}

    await strict.authorize(token(**good))
    await strict.authorize(token(**{**good, "aud": "flowtrade"}))
    for change in ({"iss": "them"}, {"aud": "x"}, {"iss": None}, {"aud": None}):
        with pytest.raises(Unauthorized):
            await strict.authorize(token(**{**good, **change}))


async def test_tokens_without_end_can_be_allowed(clock):
    lenient = JwtAuthorizer([KEY], clock=clock, policy=JwtPolicy(require_expiry=False))

    grant = await lenient.authorize(token(sub=BIDDER, admin=True))

    assert grant.expires is None
    assert grant.can_run_batch()


async def test_keys_rotate_by_their_ids(clock):
    old = SigningKey.from_secret("o" * 32, kid="old")
    new = SigningKey.from_secret("n" * 32, kid="new")
    authorizer = JwtAuthorizer([old, new], clock=clock)
    tokens = [token(key, sub=BIDDER, exp=IN_AN_HOUR) for key in (old, new)]
    for made in tokens:
        await authorizer.authorize(made)

    authorizer.rotate([new])

    await authorizer.authorize(tokens[1])
    with pytest.raises(Unauthorized, match="a key that we do not have"):
        await authorizer.authorize(tokens[0])  # although it was remembered
    with pytest.raises(Unauthorized):  # the right secret, but no id
        await authorizer.authorize(
            token(SigningKey.from_secret("n" * 32), exp=IN_AN_HOUR)
        )


async def test_keys_without_ids_are_all_tried(clock):
    first, second = (SigningKey.from_secret(c * 32) for c in "ab")
    authorizer = JwtAuthorizer([first, second], clock=clock)

    for key in (first, second):
        await authorizer.authorize(token(key, exp=IN_AN_HOUR))
    with pytest.raises(Unauthorized):
        await authorizer.authorize(token(exp=IN_AN_HOUR))


@pytest.mark.parametrize("ids", [[], ["a", "a"]])
def test_a_set_of_keys_must_make_sense(ids):
    with pytest.raises(InvalidRequest):
        JwtAuthorizer([SigningKey.from_secret(SECRET, kid=kid) for kid in ids])


def test_a_key_of_the_server_names_its_algorithm():
    vague = SigningKey({"kty": "oct", "k": "A" * 86})

    with pytest.raises(InvalidRequest, match="must name its algorithm"):
        JwtAuthorizer([vague])


async def test_a_revoked_token_is_refused_although_remembered(authorizer):
    made = token(sub=BIDDER, exp=IN_AN_HOUR, jti="t1")
    await authorizer.authorize(made)

    authorizer.revoke("t1")

    with pytest.raises(Unauthorized, match="revoked"):
        await authorizer.authorize(made)
    await authorizer.authorize(token(sub=BIDDER, exp=IN_AN_HOUR, jti="t2"))


async def test_the_cache_is_bounded_and_holds_no_tokens(clock):
    authorizer = JwtAuthorizer([KEY], clock=clock, policy=JwtPolicy(cache=3))
    made = [token(exp=IN_AN_HOUR, jti=str(n)) for n in range(5)]

    for each in made:
        await authorizer.authorize(each)

    assert len(authorizer._cache) == 3
    assert all(len(key) == 32 for key in authorizer._cache)


@pytest.mark.parametrize("text", ["", "x", "\udcff", "é" * 9, "a.b.c", "x" * 100_000])
async def test_any_text_is_refused_in_order(authorizer, text):
    with pytest.raises(Unauthorized):
        await authorizer.authorize(text)


def test_a_short_secret_and_a_strange_bidder_are_refused():
    with pytest.raises(InvalidRequest, match="too short: 5 bytes, at least 32"):
        generate_jwt(BIDDER, "short")
    with pytest.raises(InvalidRequest, match="too short: 31 bytes, at least 32"):
        JwtAuthorizer.from_secret("x" * 31)
    with pytest.raises(IdError):
        generate_jwt("alice", SECRET)


async def test_a_form_says_its_own_rights():
    other = str(UUID(int=2))
    form = f"bidder_id={BIDDER}&bidder_id={other}&can_read_bid=true&can_run_batch=1"

    grant = await FormAuthorizer().authorize(form)

    assert grant.can_read_bid(BIDDER)
    assert grant.can_read_bid(other)
    assert grant.can_create_bid() is None
    assert grant.can_query_bid() == ()
    assert not grant.can_run_batch()  # only the word `true` counts


@pytest.mark.parametrize("form", ["bidder_id=alice", "nonsense"])
async def test_a_form_that_cannot_be_read_is_refused(form):
    with pytest.raises(Unauthorized):
        await FormAuthorizer().authorize(form)
