"""The venue of docs/venue-template.md is whole, plain, and works."""

import ast
import importlib
import io
import json
import re
import sys
import tokenize
from pathlib import Path

import pytest
import trio

from integration.errors import Subscribe, Unsupported, UnsupportedSubKind
from integration.exchanges import registry
from integration.exchanges.registry import connector_for, use_connector
from integration.market.config import StreamConfig
from integration.market.reports import BookResynced, BookStale, StreamError
from integration.market.streams import open_market_streams
from integration.models import (
    ExchangeId,
    MarketDataInstrument,
    MarketEvent,
    OrderBookSnapshot,
    OrderBookUpdate,
    PublicTrade,
    SubKind,
    Subscription,
)
from netcore.errors import ConnectionClosed
from netcore.trio import serve_websocket

DOCS = Path(__file__).resolve().parents[3] / "docs"
MODULES = ("symbols", "channels", "messages", "transform", "requests")
MOST_LINES = 200
BTC = MarketDataInstrument.spot("btc", "usd")


def template():
    text = (DOCS / "venue-template.md").read_text()
    found = re.findall(r"## `(\w+)\.py`.*?```python\n(.*?)```", text, re.DOTALL)
    return dict(found)


@pytest.fixture
def toymart(tmp_path, monkeypatch):
    """The connector, built out of tree and offered; withdrawn afterwards."""
    folder = tmp_path / "toymart"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Toymart."""\n')
    for name, source in template().items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_OWN", {})
    (connector,) = importlib.import_module("toymart.requests").CONNECTORS
    use_connector(connector)
    yield connector
    for name in [name for name in sys.modules if name.split(".")[0] == "toymart"]:
        del sys.modules[name]


def lines_of_code(source):
    """Count lines that are neither blank, comment nor docstring."""
    told = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            told |= set(range(node.lineno, node.end_lineno + 1))
    kinds = {tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING}
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - told)


def test_a_plain_venue_has_five_modules_and_at_most_200_lines():
    modules = template()

    assert tuple(modules) == MODULES
    assert sum(map(lines_of_code, modules.values())) <= MOST_LINES


def test_the_plainest_venue_here_keeps_to_it_too():
    import integration.exchanges.bitstamp as bitstamp

    folder = Path(bitstamp.__file__).parent
    sources = [(folder / f"{name}.py").read_text() for name in MODULES]

    assert sum(map(lines_of_code, sources)) <= MOST_LINES


def test_it_is_found_by_its_id_and_hides_no_venue_of_ours(toymart):
    assert connector_for(ExchangeId.OTHER) is toymart

    class Impostor(type(toymart)):
        exchange = ExchangeId.OKX

    with pytest.raises(ValueError, match="okx has a connector already"):
        use_connector(Impostor())
    with pytest.raises(Unsupported):
        registry.folder_of(ExchangeId.OTHER)


def test_what_it_has_not_is_refused(toymart):
    for kind in set(SubKind) - {SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2}:
        with pytest.raises(UnsupportedSubKind):
            toymart.topic(Subscription(ExchangeId.OTHER, BTC, kind))
    swap = MarketDataInstrument.perpetual("btc", "usd")
    with pytest.raises(UnsupportedSubKind):
        toymart.topic(Subscription(ExchangeId.OTHER, swap, SubKind.PUBLIC_TRADES))
    assert toymart.instrument(toymart.native(BTC)) == BTC


class Server:
    """Toymart: acknowledges, sends an image when asked, and then a script."""

    def __init__(self):
        self.asked = []
        self.number = 0

    async def handle(self, websocket):
        try:
            while True:
                request = json.loads(await websocket.receive_text())
                self.asked.append(request)
                self.answer(websocket, request)
        except ConnectionClosed:
            pass

    def answer(self, websocket, request):
        def say(message):
            websocket.send_text(json.dumps(message))

        if request["op"] != "subscribe":
            return
        if "trades:XXX-USD" in request["topics"]:
            say({"type": "error", "id": request["id"], "code": "7", "text": "none"})
            return
        say({"type": "ack", "id": request["id"]})
        if "book:BTC-USD" not in request["topics"]:
            return
        self.number += 10
        say(book("image", self.number, [["99", "1"]], [["101", "1"]]))
        if self.number == 10:
            say(book("update", 11, [["100", "2"]], []))
            say(book("update", 13, [["98", "2"]], []))  # 12 is lost
            trade = {"id": "1", "price": "100.5", "amount": "2", "side": "buy"}
            data = [trade | {"time": 1000}]
            say({"type": "trades", "symbol": "BTC-USD", "data": data})


def book(form, number, bids, asks):
    fields = {"symbol": "BTC-USD", "form": form, "number": number, "time": 5}
    return {"type": "book", **fields, "bids": bids, "asks": asks}


async def test_it_streams_trades_and_repairs_its_book(toymart):
    server = Server()
    events = []
    wanted = [
        Subscription(ExchangeId.OTHER, BTC, kind)
        for kind in (SubKind.PUBLIC_TRADES, SubKind.ORDER_BOOKS_L2)
    ]
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            served = await nursery.start(serve_websocket, server.handle, 0)
            config = StreamConfig(websocket_url={ExchangeId.OTHER: served.url})
            async with open_market_streams(wanted, config=config) as streams:
                while not any(isinstance(e, BookResynced) for e in events):
                    events.append(await anext(streams))
                kept = streams.books["other", "btc_usd_spot"]
                assert (kept.state, kept.sequence) == ("live", 20)
            nursery.cancel_scope.cancel()

    kinds = [type(e.kind) if isinstance(e, MarketEvent) else type(e) for e in events]
    assert kinds.count(PublicTrade) == 1
    assert kinds.index(OrderBookSnapshot) < kinds.index(OrderBookUpdate)
    assert kinds.index(OrderBookUpdate) < kinds.index(BookStale)
    assert StreamError not in kinds
    first = server.asked[0]
    assert sorted(first["topics"]) == ["book:BTC-USD", "trades:BTC-USD"]


async def test_a_symbol_that_the_venue_refuses_fails_the_opening(toymart):
    wanted = Subscription(
        ExchangeId.OTHER,
        MarketDataInstrument.spot("xxx", "usd"),
        SubKind.PUBLIC_TRADES,
    )
    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            served = await nursery.start(serve_websocket, Server().handle, 0)
            config = StreamConfig(websocket_url={ExchangeId.OTHER: served.url})
            with pytest.raises(Subscribe, match="7: none"):
                async with open_market_streams([wanted], config=config):
                    pytest.fail("it was not refused")
            nursery.cancel_scope.cancel()
