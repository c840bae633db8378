"""Hostile tokens over every route: never let in, and never a fault of the server."""

import base64
import hashlib
import hmac
import json
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from flowtrade.api.routes import ROUTES, Right
from flowtrade.auth import JwtAuthorizer, SigningKey, generate_jwt
from flowtrade.ids import TimeOrderedIds
from flowtrade.settings import AuctionSettings, Settings
from flowtrade.testing.bench import open_bench
from netcore.clock import ManualClock

NOW = 1_700_000_000
SECRET = "a secret of thirty-two characters!"
RAW = SECRET.encode()
HMAC = SigningKey.from_secret(SECRET, kid="hs")
EDWARDS = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
OWNER, STRANGER = str(uuid4()), str(uuid4())
GOOD = {"sub": OWNER, "admin": True, "iat": NOW, "exp": NOW + 3600}
CURVE = {"price": 1.0}


def jwk(private, algorithm, kid):
    text = jwt.get_algorithm_by_name(algorithm).to_jwk(private)
    members = {**json.loads(text), "kid": kid, "alg": algorithm}
    members.pop("key_ops", None)
    return SigningKey(members)


KEYS = [HMAC, jwk(EDWARDS, "EdDSA", "ed"), jwk(RSA, "RS256", "rs")]
PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def b64(data):
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header, claims=GOOD, secret=RAW, signature=None):
    """A token signed with HMAC-SHA256, whatever its header says."""
    signed = f"{b64(header)}.{b64(claims)}"
    if signature is None:
        signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{b64(signature)}"


def good(**changes):
    claims = {**GOOD, **changes}
    return HMAC.sign(json.dumps(claims).encode())


def signed(text):
    return HMAC.sign(text if isinstance(text, bytes) else text.encode())


HEADER = {"alg": "HS256", "typ": "JWT", "kid": "hs"}
TWICE = b'{"alg":"none","alg":"HS256","kid":"hs"}'
HOSTILE = {
    "nonsense": "nonsense",
    "three empty segments": "..",
    "four segments": f"{good()}.x",
    "no signature": good().rpartition(".")[0] + ".",
    "another signature": good()[:-8] + "AAAAAAAA",
    "padding": good() + "==",
    "algorithm none": forged({**HEADER, "alg": "none"}, signature=b""),
    "algorithm None": forged({**HEADER, "alg": "None"}, signature=b""),
    "algorithm null": forged({**HEADER, "alg": None}),
    "algorithm of another key": forged({**HEADER, "kid": "rs"}),
    "public key as secret": forged({**HEADER, "kid": "rs"}, secret=PEM),
    "longer digest": forged({**HEADER, "alg": "HS512"}),
    "key in the header": forged(
        {**HEADER, "jwk": {"kty": "oct", "k": b64(b"x" * 32)}}, secret=b"x" * 32
    ),
    "key from elsewhere": forged(
        {**HEADER, "jku": "https://evil.example/"}, secret=b"x" * 32
    ),
    "path as key id": forged({**HEADER, "kid": "../../dev/null"}, secret=b""),
    "query as key id": forged({**HEADER, "kid": "hs' OR '1'='1"}),
    "list as key id": forged({**HEADER, "kid": ["hs"]}),
    "no key id": forged({"alg": "HS256"}),
    "critical extension": forged({**HEADER, "crit": ["b64"], "b64": False}),
    "header twice": b64(TWICE) + ".x.y",
    "claims that are a list": signed("[]"),
    "claims that are text": signed('"admin"'),
    "claims that are no JSON": signed("{"),
    "claims that are no text": signed(b"\xff\xfe"),
    "a subject that is no text": signed(b'{"sub":"\xff","exp":2999999999}'),
    "deep claims": signed('{"sub":' * 5000),
    "empty subject": good(sub=""),
    "subject that is no UUID": good(sub="admin"),
    "number as subject": good(sub=1),
    "list as subject": good(sub=[OWNER]),
    "admin as text": good(admin="true"),
    "admin as number": good(admin=1),
    "expired": good(exp=NOW - 60),
    "never expires": HMAC.sign(json.dumps({"sub": OWNER, "admin": True}).encode()),
    "expiry as text": good(exp="2999"),
    "expiry without end": signed(f'{{"sub":"{OWNER}","exp":1e999}}'),
    "negative expiry": good(exp=-1),
    "not yet valid": good(nbf=NOW + 3600),
    "made in the future": good(iat=NOW + 3600),
    "another audience": good(aud="elsewhere"),
    "very long": good(note="x" * 20_000),
}
GUARDED = [route for route in ROUTES if route.right is not Right.PUBLIC]


@pytest.fixture
async def bench():
    clock = ManualClock(NOW * 10**9)
    settings = Settings(auction=AuctionSettings(horizon=1.0))
    authorizer = JwtAuthorizer(KEYS, clock=clock)
    async with open_bench(
        settings, authorizer=authorizer, ids=TimeOrderedIds(), clock=clock
    ) as opened:
        async with opened.client(good()) as client:
            item = (await client.post("/product", json={"name": "x"})).json()["id"]
            body = {"app_data": 1, "curve_data": CURVE}
            demand = (await client.post("/demand", json=body)).json()["id"]
            body = {"app_data": 1, "demand": demand, "basis": item}
            portfolio = (await client.post("/portfolio", json=body)).json()["id"]
            batch = (await client.post("/batch")).text
        names = {
            "{product_id:str}": item,
            "{demand_id:str}": demand,
            "{portfolio_id:str}": portfolio,
            "{as_of:str}": batch,
        }
        yield opened, names


BODIES = {
    ("POST", "/demand"): {"app_data": 1, "curve_data": CURVE},
    ("PUT", "/demand/{demand_id:str}"): CURVE,
    ("POST", "/portfolio"): {"app_data": 1, "demand": None, "basis": None},
    ("PATCH", "/portfolio/{portfolio_id:str}"): {},
    ("PUT", "/portfolio/{portfolio_id:str}/cap"): {"max_trade": 1},
    ("PUT", "/submission"): {},
    ("POST", "/product"): {"name": "y"},
    ("POST", "/product/{product_id:str}"): [{"app_data": 1, "ratio": 1}],
}


async def ask(client, names, route):
    path = route.path
    for name, value in names.items():
        path = path.replace(name, value)
    if isinstance(route.body, str):
        headers = {"Content-Type": route.body.split(", ")[0]}
        return await client.request(route.method, path, headers=headers)
    body = BODIES.get((route.method, route.path))
    return await client.request(route.method, path, json=body)


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_token_opens_nothing(bench, kind):
    opened, names = bench
    async with opened.client(HOSTILE[kind]) as client:
        statuses = {
            (route.method, route.path): (await ask(client, names, route)).status_code
            for route in GUARDED
        }

    assert {key: s for key, s in statuses.items() if s not in (400, 401)} == {}


async def test_a_stranger_reads_and_changes_nothing_of_the_owners(bench):
    opened, names = bench
    stranger = generate_jwt(STRANGER, HMAC, now=NOW * 10**9)
    theirs = [r for r in GUARDED if r.right in (Right.READ, Right.UPDATE)]
    async with opened.client(stranger) as client:
        statuses = [(await ask(client, names, r)).status_code for r in theirs]
        listed = [(await client.get(path)).json() for path in ("/demand", "/portfolio")]
        own = (await client.get("/batch/latest/bids")).json()

    assert set(statuses) == {401}
    assert listed == [[], []]
    assert own["portfolios"] == {}


async def test_a_bidder_is_no_administrator(bench):
    opened, names = bench
    bidder = generate_jwt(OWNER, HMAC, now=NOW * 10**9)
    managed = [r for r in GUARDED if r.right in (Right.MANAGE, Right.RUN)]
    async with opened.client(bidder) as client:
        statuses = [(await ask(client, names, r)).status_code for r in managed]

    assert len(managed) >= 3
    assert set(statuses) == {401}


async def test_an_administrator_without_bidder_has_no_bids(bench):
    opened, names = bench
    admin = generate_jwt(None, HMAC, admin=True, now=NOW * 10**9)
    rights = (Right.CREATE, Right.QUERY, Right.READ, Right.UPDATE)
    bids = [r for r in GUARDED if r.right in rights]
    async with opened.client(admin) as client:
        statuses = [(await ask(client, names, r)).status_code for r in bids]

    assert set(statuses) == {401}


async def test_the_owner_is_let_in_everywhere(bench):
    opened, names = bench
    streams = "text/event-stream"
    async with opened.client(good()) as client:
        for route in GUARDED:
            if route.reply != streams:
                reply = await ask(client, names, route)
                assert reply.status_code == route.status, (route.path, reply.text)
