"""Key sets: what is read, where from, and how rotation reaches the authorizer."""

import json
import ssl
from contextlib import suppress
from uuid import UUID

import httpx
import jwt
import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from flowtrade.auth import (
    FileKeys,
    JwtAuthorizer,
    JwtPolicy,
    SigningKey,
    UrlKeys,
    generate_jwt,
    key_source,
    read_keys,
)
from flowtrade.errors import InvalidRequest, Unauthorized
from netcore.clock import ManualClock

NOW = 1_700_000_000 * 10**9
BIDDER = str(UUID(int=1))

RSA = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def jwk(private, algorithm, **members):
    """A JWK with the private part, as its owner keeps it."""
    text = jwt.get_algorithm_by_name(algorithm).to_jwk(private)
    return {**json.loads(text), **members}


def public(jwk):
    return {k: v for k, v in jwk.items() if k not in {"d", "p", "q", "dp", "dq", "qi"}}


def key_set(*keys):
    return json.dumps({"keys": keys}).encode()


OKP = jwk(EDWARDS, "EdDSA", kid="ed")
RS = jwk(RSA, "RS256", kid="rs")


def test_keys_of_several_types_are_read_side_by_side():
    curve = jwk(ec.generate_private_key(ec.SECP256R1()), "ES256", kid="ec")
    secret = {"kty": "oct", "kid": "hs", "k": "A" * 43}

    keys = read_keys(key_set(*map(public, (OKP, RS, curve)), secret))

    assert [(key.kid, key.algorithms) for key in keys] == [
        ("ed", ("EdDSA",)),
        ("rs", ("RS256",)),
        ("ec", ("ES256",)),
        ("hs", ("HS256",)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "new kind", "kid": "x"},
        {"kid": "x"},
        {**public(RS), "kid": "x", "use": "enc"},
        {**public(RS), "kid": 7},
        {**public(RS), "kid": "x", "alg": "RSA-OAEP"},
    ],
)
def test_keys_that_are_not_for_us_are_left_out(other):
    (key,) = read_keys(key_set(other, public(OKP)))

    assert key.kid == "ed"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "no key set"),
        (b"[]", "no key set"),
        (b'{"keys": 1}', "no key set"),
        (b'{"keys": [{"kid": "\xff"}]}', "no key set"),
        (key_set(), "none of the 0 keys"),
        (key_set({"kty": "new kind"}), "none of the 1 keys"),
        (key_set(public(OKP), public(OKP)), "gives an id twice: ed, ed"),
        (b" " * 2**20 + key_set(public(OKP)), "more than 1048576 bytes"),
    ],
)
def test_what_is_no_usable_set_is_refused(document, reason):
    with pytest.raises(InvalidRequest, match=reason):
        read_keys(document)


def test_a_secret_in_a_public_set_is_refused():
    with pytest.raises(InvalidRequest, match="symmetric"):
        read_keys(key_set({"kty": "oct", "k": "A" * 43}), public=True)


@pytest.mark.parametrize(
    "url", ["http://keys.example/set", "ftp://keys.example/set", "https://", "://x"]
)
def test_keys_are_fetched_by_https_only(url):
    with pytest.raises(InvalidRequest, match=r"https|URL"):
        key_source(url)


async def test_a_file_is_read_at_every_fetch(tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(public(OKP)))
    source = key_source(str(path))
    assert isinstance(source, FileKeys)

    (first,) = await source.fetch()
    path.write_bytes(key_set(public(RS)))
    (second,) = await source.fetch()

    assert (first.kid, second.kid) == ("ed", "rs")
    path.unlink()
    with pytest.raises(InvalidRequest, match="No such file"):
        await source.fetch()
    path.write_bytes(b"{}")
    with pytest.raises(InvalidRequest, match=r"keys\.json: no key set"):
        await source.fetch()


class Provider:
    """An identity provider's HTTP server, as far as it hands out keys."""

    def __init__(self, answer):
        self.answer = answer

    async def serve(self, *, task_status):
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        task_status.started(f"http://127.0.0.1:{port}/keys")
        await trio.serve_listeners(self._answer, [listener])

    async def serve_tls(self, authority, *, task_status):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        task_status.started(f"https://127.0.0.1:{port}/keys")
        await trio.serve_listeners(self._answer, [trio.SSLListener(listener, context)])

    async def _answer(self, stream):
        with suppress(trio.BrokenResourceError):  # a peer that does not trust us
            await self._answer_one(stream)

    async def _answer_one(self, stream):
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        status, body = self.answer
        length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        await stream.send_all(f"HTTP/1.1 {status} X\r\n{length}".encode() + body)
        await stream.aclose()


async def test_an_address_hands_out_keys_or_says_why_not(nursery):
    provider = Provider((200, key_set(public(OKP))))
    url = await nursery.start(provider.serve)
    source = UrlKeys(url)

    (key,) = await source.fetch()
    assert key.kid == "ed"
    for answer, reason in (
        ((503, b""), "answered 503"),
        ((302, b""), "answered 302"),
        ((200, b"<html>"), "no key set"),
        ((200, b" " * (2**20 + 1)), "more than"),
        ((200, key_set({"kty": "oct", "k": "A" * 43})), "symmetric"),
    ):
        provider.answer = answer
        with pytest.raises(InvalidRequest, match=reason):
            await source.fetch()
    nursery.cancel_scope.cancel()


async def test_whose_certificate_nobody_vouches_for_hands_out_no_keys(nursery):
    provider, authority = Provider((200, key_set(public(OKP)))), trustme.CA()
    url = await nursery.start(provider.serve_tls, authority)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    (key,) = await key_source(url, ssl_context=trusting).fetch()
    with pytest.raises(InvalidRequest, match="CERTIFICATE_VERIFY_FAILED"):
        await key_source(url).fetch()

    assert key.kid == "ed"
    nursery.cancel_scope.cancel()


async def test_an_address_where_nobody_listens_is_named(unused_url):
    with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1") as caught:
        await UrlKeys(unused_url).fetch()

    assert isinstance(caught.value.__cause__, httpx.HTTPError)


@pytest.fixture
async def unused_url():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    return f"http://127.0.0.1:{port}/"


class Source:
    """Keys that change under our hands; counts the questions."""

    def __init__(self, *keys):
        self.keys = keys
        self.asked = 0

    async def fetch(self):
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if not self.keys:
            raise InvalidRequest("the provider is away")
        return read_keys(key_set(*map(public, self.keys)))


def token(private):
    return generate_jwt(BIDDER, SigningKey({**private, "alg": ALG[private["kid"]]}))


ALG = {"ed": "EdDSA", "rs": "RS256"}


async def test_a_token_of_a_new_key_makes_the_source_be_asked(autojump_clock):
    source = Source(OKP)
    authorizer = await JwtAuthorizer.from_source(source)
    assert (await authorizer.authorize(token(OKP))).can_create_bid() == BIDDER

    source.keys = (OKP, RS)
    for private in (RS, OKP):
        assert (await authorizer.authorize(token(private))).can_create_bid() == BIDDER

    assert source.asked == 2


async def test_tokens_of_a_new_key_that_come_together_are_all_accepted(autojump_clock):
    source = Source(OKP)
    authorizer = await JwtAuthorizer.from_source(source)
    await trio.sleep(60)
    source.keys = (OKP, RS)
    found = []

    async def come(name):
        made = generate_jwt(name, SigningKey({**RS, "alg": "RS256"}))
        found.append((await authorizer.authorize(made)).can_create_bid())

    names = [str(UUID(int=number)) for number in range(1, 6)]
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(come, name)

    assert sorted(found) == names
    assert source.asked == 2


async def test_who_sends_new_tokens_lets_others_run_between():
    authorizer = JwtAuthorizer([SigningKey({**OKP, "alg": "EdDSA"})])

    with trio.testing.assert_checkpoints():
        await authorizer.authorize(token(OKP))


async def test_strangers_make_the_source_be_asked_once_a_minute(autojump_clock):
    source = Source(OKP)
    clock = ManualClock(NOW)
    authorizer = await JwtAuthorizer.from_source(source, clock=clock)
    forged = [token(RS)]

    async def refused(made):
        with pytest.raises(Unauthorized, match="a key that we do not have"):
            await authorizer.authorize(made)

    async with trio.open_nursery() as nursery:
        for made in forged * 20:
            nursery.start_soon(refused, made)
    assert source.asked == 2  # at the start, and for the first of them

    clock.advance(2)  # refusals are remembered for a second
    await refused(forged[0])
    assert source.asked == 2
    await trio.sleep(60)
    clock.advance(60)
    await refused(forged[0])
    assert source.asked == 3


async def test_a_removed_key_ends_at_the_next_question(autojump_clock):
    source = Source(OKP, RS)
    authorizer = await JwtAuthorizer.from_source(source, policy=JwtPolicy(refresh=30))
    made = token(RS)
    await authorizer.authorize(made)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(authorizer.follow)
        source.keys = (OKP,)
        await trio.sleep(31)
        with pytest.raises(Unauthorized):
            await authorizer.authorize(made)
        nursery.cancel_scope.cancel()


async def test_the_keys_stay_while_the_source_is_away(autojump_clock, caplog):
    source = Source(OKP)
    authorizer = await JwtAuthorizer.from_source(source, policy=JwtPolicy(refresh=30))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(authorizer.follow)
        source.keys = ()
        await trio.sleep(61)
        assert (await authorizer.authorize(token(OKP))).can_create_bid() == BIDDER
        nursery.cancel_scope.cancel()

    assert source.asked == 3
    assert "the provider is away" in caplog.text


async def test_a_source_without_keys_is_an_error_at_the_start():
    with pytest.raises(InvalidRequest, match="away"):
        await JwtAuthorizer.from_source(Source())


async def test_without_a_source_there_is_nothing_to_follow():
    with trio.fail_after(5):
        await JwtAuthorizer.from_secret("s" * 32).follow()
