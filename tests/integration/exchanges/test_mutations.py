"""Every venue that numbers its updates or sums up its books notices a change of them.

Sessions are made here, in each venue's spelling; `test_replay_mutations.py` does the
same to recorded ones, of which there are fewer. What is noticed, and by what:

==================================== ============================================
Binance spot, US; Gate.io (all six)  ids `U..u` without holes (`ID_RANGE`)
Binance USD-M, COIN-M                `pu`, the last id before (`PREVIOUS_ID`)
Bybit spot, perpetuals               `u`, a counter (`COUNTER`)
OKX                                  `prevSeqId` (`PREVIOUS_SEQUENCE`), checksum
Deribit                              `prev_change_id` (`PREVIOUS_CHANGE`)
Coinbase Advanced                    `sequence_num` of the connection
Bitfinex                             sequence of the connection, checksum (`cs`)
Kraken v1, v2                        checksum after each update
BitMEX                               change of a level that was never inserted
Bitstamp                             time: what comes too late, not what is lost
Coinbase Exchange, Hyperliquid       nothing (`NOTHING`)
==================================== ============================================
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from integration.market import checksums
from integration.market.books import BookState, OrderBook
from integration.market.playback import Playback
from integration.market.reports import BookResynced, BookStale, StaleReason
from integration.market.sequencing import RULES
from integration.models import ExchangeId, MarketEvent, OrderBookUpdate

NOW = 1_700_000_000_000_000_000
COUNT = 12
BIDS = [(f"{100 - i}.0", "1.00000000") for i in range(30)]
ASKS = [(f"{101 + i}.0", "1.00000000") for i in range(30)]
NOTHING = {ExchangeId.COINBASE, ExchangeId.HYPERLIQUID}
"""Neither numbers nor sums: Coinbase's heartbeats show lost trades, and every message
of Hyperliquid is a whole book."""


class Session(NamedTuple):
    """What a venue sends, one payload per change; `image(last)` renews the book."""

    image: Callable[[int], bytes]
    updates: list[bytes]
    before: tuple[bytes, ...] = ()
    symbol: str | None = None


class Mirror:
    """The venue's own book, to sum up."""

    def __init__(self):
        self.book = OrderBook()
        self.book.apply_snapshot(BIDS, ASKS)

    def after(self, change, checksum):
        self.book.apply_update([change], [])
        return checksum(self.book)


def changes():
    """Levels near the top, each with an amount that no other change has."""
    return [(f"{100 - n % 5}.0", f"{n}.50000000") for n in range(1, COUNT + 1)]


def spelled(body):
    return json.dumps(body, separators=(",", ":")).encode()


def binance(symbol, *, futures=False):
    def image(last):
        return spelled({"lastUpdateId": last, "bids": BIDS, "asks": ASKS})

    updates = []
    for n, level in enumerate(changes(), 1):
        ids = {"U": 10 * n - 9, "u": 10 * n}
        if futures:
            # Ids have holes; the first joins the image.
            ids = {"U": 10 * n - 5 if n > 1 else 0, "u": 10 * n, "pu": 10 * n - 10}
        body = {"e": "depthUpdate", "E": 1, "T": 1, "s": symbol, **ids}
        updates.append(spelled({**body, "b": [level], "a": []}))
    return Session(image, updates, symbol=symbol)


def gateio(symbol, family):
    def levels(raw):
        if family == "spot":
            return raw
        return [{"p": price, "s": int(float(amount) * 10)} for price, amount in raw]

    def image(last):
        body = {"id": last, "current": 1, "update": 1}
        return spelled({**body, "bids": levels(BIDS), "asks": levels(ASKS)})

    updates = []
    for n, level in enumerate(changes(), 1):
        ids = {"t": 1, "s": symbol, "U": 10 * n - 9, "u": 10 * n}
        result = {**ids, "b": levels([level]), "a": []}
        head = {"time": 1, "channel": f"{family}.order_book_update", "event": "update"}
        updates.append(spelled({**head, "result": result}))
    return Session(image, updates, symbol=symbol)


def bybit():
    def message(kind, number, bids, asks):
        data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": number, "seq": number}
        head = {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1}
        return spelled({**head, "data": data, "cts": 1})

    updates = [message("delta", n, [c], []) for n, c in enumerate(changes(), 1)]
    return Session(lambda last: message("snapshot", last, BIDS, ASKS), updates)


def okx(*, numbered):
    mirror = Mirror()

    def message(action, number, bids, asks, checksum):
        rows = [[[p, a, "0", "1"] for p, a in side] for side in (bids, asks)]
        row = {"asks": rows[1], "bids": rows[0], "ts": "1", "checksum": checksum}
        if numbered:
            row |= {"prevSeqId": number - 1, "seqId": number}
        arg = {"channel": "books", "instId": "BTC-USDT"}
        return spelled({"arg": arg, "action": action, "data": [row]})

    updates = []
    for n, change in enumerate(changes(), 1):
        checksum = 0 if numbered else mirror.after(change, checksums.okx)
        updates.append(message("update", n, [change], [], checksum))
    return Session(lambda last: message("snapshot", last, BIDS, ASKS, 0), updates)


def deribit():
    def message(kind, number, bids, asks):
        data = {"type": kind, "timestamp": 1, "instrument_name": "BTC-PERPETUAL"}
        data |= {"change_id": number, "bids": bids, "asks": asks}
        if kind == "change":
            data["prev_change_id"] = number - 3
        params = {"channel": "book.BTC-PERPETUAL.100ms", "data": data}
        body = {"jsonrpc": "2.0", "method": "subscription", "params": params}
        return spelled(body)

    def rows(levels, verb="new"):
        return [[verb, float(price), float(amount)] for price, amount in levels]

    updates = [
        message("change", 3 * n, rows([c], "change"), [])
        for n, c in enumerate(changes(), 1)
    ]
    return Session(
        lambda last: message("snapshot", last, rows(BIDS), rows(ASKS)), updates
    )


def coinbase_advanced():
    moment = "2026-04-07T14:30:00.123456Z"

    def message(kind, number, bids, asks):
        rows = [
            {
                "side": side,
                "event_time": moment,
                "price_level": price,
                "new_quantity": amount,
            }
            for side, levels in (("bid", bids), ("offer", asks))
            for price, amount in levels
        ]
        event = {"type": kind, "product_id": "BTC-USD", "updates": rows}
        head = {"channel": "l2_data", "client_id": "", "timestamp": moment}
        return spelled({**head, "sequence_num": number, "events": [event]})

    updates = [message("update", n, [c], []) for n, c in enumerate(changes(), 1)]
    return Session(lambda last: message("snapshot", last, BIDS, ASKS), updates)


def kraken():
    mirror = Mirror()
    image = {
        "as": [[*level, "1.0"] for level in ASKS[:10]],
        "bs": [[*level, "1.0"] for level in BIDS[:10]],
    }
    updates = []
    for change in changes():
        checksum = str(mirror.after(change, checksums.kraken))
        body = {"b": [[*change, "1.0"]], "c": checksum}
        updates.append(spelled([1, body, "book-10", "XBT/USD"]))
    return Session(lambda _last: spelled([1, image, "book-10", "XBT/USD"]), updates)


def kraken_v2():
    mirror = Mirror()
    pair = {"symbol": "BTC/USD", "price_precision": 1, "qty_precision": 8}
    reference = {"channel": "instrument", "type": "snapshot"}
    reference["data"] = {"assets": [], "pairs": [pair]}

    def message(kind, bids, asks, checksum):
        sides = {
            name: [{"price": float(p), "qty": float(a)} for p, a in levels]
            for name, levels in (("bids", bids), ("asks", asks))
        }
        row = {"symbol": "BTC/USD", **sides, "checksum": checksum}
        row["timestamp"] = "2023-10-06T17:35:55.440295Z"
        return spelled({"channel": "book", "type": kind, "data": [row]})

    whole = checksums.kraken_v2(mirror.book)
    updates = [
        message("update", [c], [], mirror.after(c, checksums.kraken_v2))
        for c in changes()
    ]
    return Session(
        lambda _last: message("snapshot", BIDS[:10], ASKS[:10], whole),
        updates,
        before=(spelled(reference),),
    )


def bitfinex(*, numbered):
    mirror, numbers = Mirror(), iter(range(2, 1000))
    told = {"event": "subscribed", "channel": "book", "chanId": 7, "symbol": "tBTCUSD"}

    def message(body, *parts):
        tail = [next(numbers)] if numbered else []
        return spelled([7, *parts, body, *tail])

    rows = [[float(p), 1, float(a)] for p, a in BIDS]
    rows += [[float(p), 1, -float(a)] for p, a in ASKS]
    image = [7, rows, 1] if numbered else [7, rows]
    updates = []
    for price, amount in changes():
        updates.append(message([float(price), 1, float(amount)]))
        if not numbered:
            mirror.book.apply_update([(price[:-2], f"{float(amount)}")], [])
    return Session(lambda _last: spelled(image), updates, before=(spelled(told),))


def bitmex():
    """Every level is inserted, changed and deleted again."""

    def message(action, *rows):
        data = [
            {"symbol": "XBTUSD", "id": number, "side": side, **more}
            for number, side, more in rows
        ]
        return spelled({"table": "orderBookL2_25", "action": action, "data": data})

    far = [(1, "Buy", {"size": 1, "price": 10.0})]
    far.append((2, "Sell", {"size": 1, "price": 1000.0}))
    updates = []
    for n in range(COUNT):
        number = 100 + n
        updates.append(
            message("insert", (number, "Buy", {"size": 5, "price": 50.0 + n}))
        )
        updates.append(message("update", (number, "Buy", {"size": 6})))
        updates.append(message("delete", (number, "Buy", {})))
    return Session(lambda _last: message("partial", *far), updates)


def bitstamp():
    def message(number, level):
        data = {"timestamp": "1", "microtimestamp": str(number)}
        data |= {"bids": [level], "asks": []}
        head = {"channel": "diff_order_book_btcusd", "event": "data"}
        return spelled({**head, "data": data})

    def image(last):
        head = {"timestamp": "1", "microtimestamp": str(last)}
        return spelled({**head, "bids": BIDS, "asks": ASKS})

    updates = [message(n, c) for n, c in enumerate(changes(), 1)]
    return Session(image, updates, symbol="btcusd")


GUARDED = {
    "binance_spot": lambda: binance("BTCUSDT"),
    "binance_us": lambda: binance("BTCUSDT"),
    "binance_futures_usd": lambda: binance("BTCUSDT", futures=True),
    "binance_futures_coin": lambda: binance("BTCUSD_PERP", futures=True),
    "bybit_spot": bybit,
    "bybit_perpetuals_usd": bybit,
    "okx": lambda: okx(numbered=True),
    "okx by checksum": lambda: okx(numbered=False),
    "gateio_spot": lambda: gateio("BTC_USDT", "spot"),
    "gateio_perpetuals_usd": lambda: gateio("BTC_USDT", "futures"),
    "gateio_perpetuals_btc": lambda: gateio("BTC_USD", "futures"),
    "gateio_futures_usd": lambda: gateio("BTC_USDT_QUARTERLY_20271231", "futures"),
    "gateio_futures_btc": lambda: gateio("BTC_USD_QUARTERLY_20271231", "futures"),
    "gateio_options": lambda: gateio("BTC_USDT-20271231-35000-C", "options"),
    "deribit": deribit,
    "coinbase_advanced": coinbase_advanced,
    "kraken": kraken,
    "kraken_v2": kraken_v2,
    "bitfinex": lambda: bitfinex(numbered=True),
}
"""Venues that notice any change of the order of their messages."""

HALF_GUARDED = {"bitmex", "bitstamp"}
"""Those that notice some."""


class Player:
    """Plays a session, mutated or not, into a book."""

    def __init__(self, name, session):
        self.session = session
        self.playback = Playback(ExchangeId(name.split(" ")[0]))
        for payload in session.before:
            self.feed(payload)
        self.events = []
        self.renew(0)

    def feed(self, payload):
        self.events = [*getattr(self, "events", []), *self.playback.feed(payload, NOW)]

    def renew(self, last):
        image = self.session.image(last)
        if self.session.symbol is None:
            self.feed(image)
        else:
            self.events += self.playback.feed_image(
                image, NOW, symbol=self.session.symbol
            )

    def play(self, updates):
        for payload in updates:
            self.feed(payload)
        return self

    @property
    def book(self):
        (book,) = self.playback.books.values()
        return book

    @property
    def stale(self):
        return [event for event in self.events if isinstance(event, BookStale)]

    def passed_on_after_stale(self):
        at = self.events.index(self.stale[0])
        return [
            event
            for event in self.events[at:]
            if isinstance(event, MarketEvent)
            and isinstance(event.kind, OrderBookUpdate)
        ]


@pytest.fixture(params=sorted(GUARDED))
def guarded(request):
    session = GUARDED[request.param]()
    return lambda updates: Player(request.param, session).play(updates), session


def test_every_venue_that_keeps_books_is_in_one_of_the_tables():
    venues = {ExchangeId(name.split(" ")[0]) for name in {*GUARDED, *HALF_GUARDED}}

    assert venues | NOTHING == set(RULES)
    assert not venues & NOTHING


def test_an_unchanged_session_is_live_to_its_end(guarded):
    play, session = guarded

    player = play(session.updates)

    assert player.stale == []
    assert player.book.state is BookState.LIVE
    best = {float(price): float(amount) for price, amount in player.book.raw_bids()}
    for price, amount in changes()[-5:]:
        # Gate.io's derivatives count tenths here.
        assert best[float(price)] in {float(amount), 10 * float(amount)}


def test_a_lost_message_makes_the_book_stale_until_it_has_another_image(guarded):
    play, session = guarded
    for i in range(1, len(session.updates) - 1):
        updates = [u for j, u in enumerate(session.updates) if j != i]

        player = play(updates)

        assert len(player.stale) == 1, i
        assert player.book.state is not BookState.LIVE, i
        assert player.passed_on_after_stale() == [], i


def test_messages_that_swap_places_make_the_book_stale(guarded):
    play, session = guarded
    for i in range(1, len(session.updates) - 2):
        updates = list(session.updates)
        updates[i], updates[i + 1] = updates[i + 1], updates[i]

        player = play(updates)

        assert player.stale, i
        assert player.passed_on_after_stale() == [], i


def test_a_doubled_message_changes_nothing_or_is_noticed(guarded):
    play, session = guarded
    expected = play(session.updates).book
    for i in range(len(session.updates)):
        updates = list(session.updates)
        updates.insert(i, updates[i])

        player = play(updates)

        if player.stale:
            assert player.book.state is not BookState.LIVE, i
            assert player.passed_on_after_stale() == [], i
        else:
            assert player.book.raw_bids() == expected.raw_bids(), i
            assert player.book.raw_asks() == expected.raw_asks(), i


def test_an_image_heals_the_book_and_reports_the_gap(guarded):
    play, session = guarded
    player = play([u for j, u in enumerate(session.updates) if j != 4])

    player.renew(10_000)

    assert player.book.state is BookState.LIVE
    (report,) = [e for e in player.events if isinstance(e, BookResynced)]
    assert report.reason is player.stale[0].reason


def test_bitfinex_sums_up_what_it_does_not_number():
    """Its checksum comes in a message of its own."""
    session = bitfinex(numbered=False)
    whole = Player("bitfinex", session).play(session.updates)
    checksum = spelled([7, "cs", checksums.bitfinex(whole.book)])

    assert whole.play([checksum]).stale == []
    for i in range(len(session.updates)):
        updates = [u for j, u in enumerate(session.updates) if j != i]
        player = Player("bitfinex", session).play([*updates, checksum])
        # What a later change of the same level hides is not there to be noticed.
        if player.book.raw_bids() == whole.book.raw_bids():
            continue
        assert [r.reason for r in player.stale] == [StaleReason.CHECKSUM], i


def test_bitmex_notices_a_change_of_what_was_never_inserted():
    session = bitmex()
    assert Player("bitmex", session).play(session.updates).stale == []

    for i in range(0, len(session.updates), 3):
        lost = [u for j, u in enumerate(session.updates) if j != i]
        swapped = list(session.updates)
        swapped[i], swapped[i + 1] = swapped[i + 1], swapped[i]
        for updates in (lost, swapped):
            player = Player("bitmex", session).play(updates)

            assert player.stale[0].reason is StaleReason.UNKNOWN_LEVEL, i
            assert player.book.state is not BookState.LIVE, i


def test_bitstamp_notices_what_comes_too_late():
    session = bitstamp()
    assert Player("bitstamp", session).play(session.updates).stale == []

    for i in range(1, len(session.updates) - 1):
        updates = list(session.updates)
        updates[i], updates[i + 1] = updates[i + 1], updates[i]

        player = Player("bitstamp", session).play(updates)

        assert player.stale, i
        assert player.passed_on_after_stale() == [], i
