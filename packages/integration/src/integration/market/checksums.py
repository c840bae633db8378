"""Checksums that venues send over the top of their books.

Each is a CRC-32 (ISO-HDLC, `zlib.crc32`) over a text that both sides make of their
best levels; equal sums mean equal books. The text is of the venue's own spelling,
which is why books keep it. Pure functions of a book.
"""

import zlib

from integration.market._speedups import in_turn
from integration.market.books import OrderBook
from integration.market.speedups import COMPILED
from integration.models import RawLevel

__all__ = ["bitfinex", "kraken", "kraken_v2", "okx"]

_KRAKEN_DEPTH = 10
_OKX_DEPTH = 25
_BITFINEX_DEPTH = 25


def kraken(book: OrderBook) -> int:
    """Kraken v1: asks low to high, then bids high to low, 10 each, unsigned.

    Price and amount without point and leading zeros, one after the other
    (https://docs.kraken.com/api/docs/guides/spot-ws-book-v1).
    """
    top = book.raw_asks(_KRAKEN_DEPTH) + book.raw_bids(_KRAKEN_DEPTH)
    return zlib.crc32(_kraken_text(top))


def _kraken_text(levels: list[RawLevel]) -> bytes:
    # One pass over the whole text: stripping level by level costs five times as much.
    parts = [part.lstrip("0.") for level in levels for part in level]
    return "".join(parts).replace(".", "").encode("ascii")


def kraken_v2(book: OrderBook) -> int | None:
    """Kraken v2: as v1, over numbers spelled with the pair's precision.

    v2 sends JSON numbers without trailing zeros; the connector spells them anew with
    the precisions of the `instrument` channel. Until those have come, the levels are
    spelled unevenly: then nothing can be verified, and None is returned
    (https://docs.kraken.com/api/docs/guides/spot-ws-book-v2).
    """
    top = book.raw_asks(_KRAKEN_DEPTH) + book.raw_bids(_KRAKEN_DEPTH)
    for column in (0, 1):
        decimals = {len(level[column].partition(".")[2]) for level in top}
        if len(decimals) > 1:
            return None
    return zlib.crc32(_kraken_text(top))


def okx(book: OrderBook) -> int:
    """OKX: bid and ask in turn, `price:size` joined by colons, 25 each, signed.

    A side that ends early is skipped. The feed sends 0 since mid-2026, which the
    connector passes on as no checksum (https://www.okx.com/docs-v5/en/
    #order-book-trading-market-data-ws-order-book-channel).
    """
    return _signed(book.raw_bids(_OKX_DEPTH), book.raw_asks(_OKX_DEPTH))


def bitfinex(book: OrderBook) -> int:
    """Bitfinex: bid and ask in turn, `price:amount`, 25 each, asks negative, signed.

    https://docs.bitfinex.com/docs/ws-websocket-checksum
    """
    asks = [(price, f"-{amount}") for price, amount in book.raw_asks(_BITFINEX_DEPTH)]
    return _signed(book.raw_bids(_BITFINEX_DEPTH), asks)


def _signed(bids: list[RawLevel], asks: list[RawLevel]) -> int:
    """Return the sum of bid and ask in turn; a side that ends early is skipped."""
    crc = zlib.crc32((in_turn if COMPILED else _in_turn)(bids, asks).encode("ascii"))
    return crc - 2**32 if crc >= 2**31 else crc


def _in_turn(bids: list[RawLevel], asks: list[RawLevel]) -> str:
    parts: list[str] = []
    add = parts.extend
    # Extending by pairs takes half the time of joining pair by pair.
    for bid, ask in zip(bids, asks, strict=False):
        add(bid)
        add(ask)
    common = min(len(bids), len(asks))
    for level in (*bids[common:], *asks[common:]):  # one of them is empty
        add(level)
    return ":".join(parts)
