"""Typed requests over HTTP: prepared, signed, limited, sent, parsed, measured.

Importing this package does not import httpx: `httpx_transport` alone knows it.
"""

from integration.rest.client import RestClient
from integration.rest.clock import OffsetSample, ServerClock, resynchronise, synchronise
from integration.rest.encoder import Base64Encoder, Encoder, HexEncoder
from integration.rest.limiter import BucketSpec, Feedback, RateLimiter, TokenBucket
from integration.rest.parser import DetailedParser, HttpParser, PlainParser
from integration.rest.prepared import PreparedRequest, prepare
from integration.rest.request import BodyFormat, Params, RestRequest
from integration.rest.retry import NO_RETRY, Outcome, RetryPolicy, outcome_of
from integration.rest.signer import (
    BuildStrategy,
    HmacKey,
    Mac,
    PublicNoHeaders,
    RequestSigner,
    Signer,
)
from integration.rest.transport import HttpTransport, RawResponse

__all__ = [
    "NO_RETRY",
    "Base64Encoder",
    "BodyFormat",
    "BucketSpec",
    "BuildStrategy",
    "DetailedParser",
    "Encoder",
    "Feedback",
    "HexEncoder",
    "HmacKey",
    "HttpParser",
    "HttpTransport",
    "Mac",
    "OffsetSample",
    "Outcome",
    "Params",
    "PlainParser",
    "PreparedRequest",
    "PublicNoHeaders",
    "RateLimiter",
    "RawResponse",
    "RequestSigner",
    "RestClient",
    "RestRequest",
    "RetryPolicy",
    "ServerClock",
    "Signer",
    "TokenBucket",
    "outcome_of",
    "prepare",
    "resynchronise",
    "synchronise",
]
