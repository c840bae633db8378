"""JSON Web Tokens behind the port `Authorizer`, and the making of them.

Theory. A token is verified once and remembered by the SHA-256 of its text (never the
text itself) until it expires or the keys change; expiry is checked at every use. Some
keys may be active at once, so that they can be rotated: a token that names a `kid` is
tried with that key alone, one without with all keys that have no id.

Keys may come from a source instead. It is asked at the start, then at intervals, and
at once (though at most once a minute, so that nobody can make us ask at will) when a
token names a key that we do not have. While the source fails, the keys stay.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, final

import msgspec
import trio

from flowtrade.auth.claims import Claims, Rights
from flowtrade.auth.jws import SigningKey, token_header
from flowtrade.auth.keys import KeySource
from flowtrade.errors import InvalidRequest, Unauthorized
from flowtrade.models.ids import Id, canonical_id
from netcore.clock import Clock, SystemClock
from netcore.models import Model, Timestamp

__all__ = ["JwtAuthorizer", "JwtPolicy", "generate_jwt"]

_SECOND = 1_000_000_000
_CLAIMS = msgspec.json.Decoder(Claims)  # strict: "false" is no boolean

_REFUSED: Final = 1_000_000_000
"""Nanoseconds for which a refused token is remembered: blunts trying over and over."""

_REFUSED_COUNT: Final = 10_000
_ASK_AGAIN: Final = 60.0
"""Seconds between two questions to a source of keys that strangers can provoke."""

_log = logging.getLogger(__name__)


class JwtPolicy(Model, frozen=True, kw_only=True):
    """What is asked of tokens beyond a good signature.

    Attributes:
        leeway: Seconds that clocks may differ.
        require_expiry: Whether a token must end some day.
        issuer: The only `iss` accepted, or None for any.
        audience: The `aud` a token must carry, or None: then it must carry none.
        cache: Tokens remembered.
        refresh: Seconds between two questions to a source of keys.
    """

    leeway: float = 30.0
    require_expiry: bool = True
    issuer: str | None = None
    audience: str | None = None
    cache: int = 100_000
    refresh: float = 300.0


class _UnknownKey(Unauthorized):
    pass


@final
class JwtAuthorizer:
    """Rights from signed tokens.

    Args:
        keys: The keys that are accepted.
        clock: For expiry.
        policy: What else is asked.
        source: Where keys come from after these; see `from_source`.
    """

    def __init__(
        self,
        keys: Iterable[SigningKey],
        *,
        clock: Clock | None = None,
        policy: JwtPolicy | None = None,
        source: KeySource | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._policy = policy or JwtPolicy()
        self._source = source
        self._asking = trio.Lock()
        self._asked = -_ASK_AGAIN
        self._keys: tuple[SigningKey, ...] = ()
        self._cache: OrderedDict[bytes, Rights] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[Timestamp, str]] = OrderedDict()
        self._revoked: set[str] = set()
        self.rotate(keys)

    @classmethod
    def from_secret(
        cls,
        secret: str | bytes,
        *,
        clock: Clock | None = None,
        policy: JwtPolicy | None = None,
    ) -> "JwtAuthorizer":
        """Return an authorizer with one HS256 key.

        Raises:
            InvalidRequest: The secret has fewer than 32 bytes.
        """
        return cls([SigningKey.from_secret(secret)], clock=clock, policy=policy)

    @classmethod
    async def from_source(
        cls,
        source: KeySource,
        *,
        clock: Clock | None = None,
        policy: JwtPolicy | None = None,
    ) -> "JwtAuthorizer":
        """Return an authorizer with the keys of a source; run `follow` beside it.

        Raises:
            InvalidRequest: The source has no usable keys.
        """
        keys = await source.fetch()
        return cls(keys, clock=clock, policy=policy, source=source)

    async def follow(self) -> None:
        """Ask the source of keys at intervals; returns at once if there is none."""
        while self._source is not None:
            await trio.sleep(self._policy.refresh)
            async with self._asking:
                await self._ask(self._source)

    def rotate(self, keys: Iterable[SigningKey]) -> None:
        """Accept these keys and no others, from the next request on.

        Raises:
            InvalidRequest: There is no key, two have the same id, or one does not say
                which algorithm it is for.
        """
        keys = tuple(keys)
        for key in keys:
            if len(key.algorithms) != 1:
                raise InvalidRequest(f"{key!r} must name its algorithm (alg)")
        ids = [key.kid for key in keys if key.kid is not None]
        if not keys or len(set(ids)) != len(ids):
            raise InvalidRequest("keys: at least one, and each id once")
        self._keys = keys
        self._forget()

    def revoke(self, jti: str) -> None:
        """Refuse the token of this id from the next request on."""
        self._revoked.add(jti)
        self._forget()

    async def authorize(self, token: str) -> Rights:
        """See `flowtrade.ports.Authorizer.authorize`."""
        now = self._clock.now_ns()
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        rights = self._cache.get(digest)
        if rights is None:
            rights = await self._first_seen(token, digest, now)
        else:
            self._cache.move_to_end(digest)
        if rights.expires is not None and now >= rights.expires:
            raise Unauthorized("the token has expired; ask for a new one")
        return rights

    async def _first_seen(self, token: str, digest: bytes, now: Timestamp) -> Rights:
        # Verifying takes up to a quarter of a millisecond; let others run between.
        await trio.lowlevel.checkpoint()
        until, reason = self._refused.get(digest, (now, ""))
        if now < until:
            raise Unauthorized(reason)
        try:
            try:
                rights = self._verify(token, now)
            except _UnknownKey:
                if not await self._refresh():
                    raise
                rights = self._verify(token, now)
        except Unauthorized as error:
            self._refused[digest] = (now + _REFUSED, str(error))
            while len(self._refused) > _REFUSED_COUNT:
                self._refused.popitem(last=False)
            raise
        self._remember(digest, rights)
        return rights

    async def _refresh(self) -> bool:
        """Ask the source for keys, if there is one and it is time to."""
        if self._source is None:
            return False
        wanted = trio.current_time()
        async with self._asking:
            if self._asked >= wanted:
                return True  # somebody asked while we waited
            if wanted < self._asked + _ASK_AGAIN:
                return False
            return await self._ask(self._source)

    async def _ask(self, source: KeySource) -> bool:
        self._asked = trio.current_time()
        try:
            keys = await source.fetch()
            self.rotate(keys)
        except InvalidRequest as error:
            _log.warning("the keys stay as they are: %s", error)
            return False
        return True

    def _forget(self) -> None:
        self._cache.clear()
        self._refused.clear()

    def _verify(self, token: str, now: Timestamp) -> Rights:
        payload = self._payload(token)
        try:
            payload.decode()  # claims that are none of ours are not looked at
            claims = _CLAIMS.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unauthorized(f"the token's claims: {error}") from error
        self._check(claims, now)
        return _rights(claims, self._policy)

    def _payload(self, token: str) -> bytes:
        kid = token_header(token).get("kid")
        keys = [key for key in self._keys if key.kid == kid]
        if not keys:
            raise _UnknownKey("the token names a key that we do not have")
        for key in keys[:-1]:
            try:
                return key.verify(token)
            except Unauthorized:
                continue
        return keys[-1].verify(token)

    def _check(self, claims: Claims, now: Timestamp) -> None:
        policy = self._policy
        leeway = round(policy.leeway * _SECOND)
        if claims.exp is None and policy.require_expiry:
            raise Unauthorized("the token never expires; it needs an exp claim")
        if claims.nbf is not None and now + leeway < _ns(claims.nbf):
            raise Unauthorized("the token is not valid yet")
        if claims.iat is not None and now + leeway < _ns(claims.iat):
            raise Unauthorized("the token was made in the future; check the clocks")
        if policy.issuer is not None and claims.iss != policy.issuer:
            raise Unauthorized("the token is of another issuer")
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if (policy.audience is None) != (audiences is None) or (
            audiences is not None and policy.audience not in audiences
        ):
            raise Unauthorized("the token is for another audience")
        if claims.jti is not None and claims.jti in self._revoked:
            raise Unauthorized("the token was revoked")

    def _remember(self, digest: bytes, rights: Rights) -> None:
        self._cache[digest] = rights
        while len(self._cache) > self._policy.cache:
            self._cache.popitem(last=False)


def generate_jwt(
    bidder: Id | None,
    key: SigningKey | str | bytes,
    *,
    admin: bool = False,
    lifetime: float = 86_400.0,
    now: Timestamp | None = None,
) -> str:
    """Make a token for a bidder or an administrator.

    Args:
        bidder: The bidder's UUID, or None for a token that only administers.
        key: The key, or the secret of an HS256 key (32 bytes at least).
        admin: Whether the bearer manages products and runs batches.
        lifetime: Seconds until it expires.
        now: The time of making, by default the system's.

    Raises:
        InvalidRequest: The secret is too short.
        IdError: `bidder` is no UUID.
    """
    signing = key if isinstance(key, SigningKey) else SigningKey.from_secret(key)
    made = (SystemClock().now_ns() if now is None else now) // _SECOND
    claims: dict[str, object] = {"iat": made, "exp": made + lifetime, "admin": admin}
    if bidder is not None:
        claims["sub"] = canonical_id(bidder)
    return signing.sign(msgspec.json.encode(claims))


def _rights(claims: Claims, policy: JwtPolicy) -> Rights:
    bidder = None if claims.sub is None else str(claims.sub)
    own = frozenset() if bidder is None else frozenset({bidder})
    expires = None if claims.exp is None else _ns(claims.exp + policy.leeway)
    return Rights(
        creates=bidder,
        queries=tuple(own),
        reads=own,
        updates=own,
        views_products=True,
        manages_products=claims.admin,
        runs_batch=claims.admin,
        expires=expires,
    )


def _ns(seconds: float) -> Timestamp:
    return round(seconds * _SECOND)
