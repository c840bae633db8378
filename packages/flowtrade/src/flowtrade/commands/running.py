"""The whole server in one nursery: the auction service and the feed beside it."""

import logging
import ssl
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, final

import msgspec
import trio

from flowtrade.commands.config import Config
from flowtrade.core.service import ProductFilter, Service
from flowtrade.core.solver import ClearingSolver
from flowtrade.errors import InvalidRequest
from flowtrade.feed import FeedInstrument, MarketFeed, instrument_of
from flowtrade.metrics import ServiceMetrics
from flowtrade.ports import Authorizer, Clock, IdFactory
from flowtrade.serve import Auction, run_auction, serve
from netcore.clock import SystemClock
from netcore.models import Timestamp

__all__ = ["RunningServer", "run_server"]

_PAGE = 1000

_log = logging.getLogger(__name__)


@final
class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that has started.

    Attributes:
        auction: The service.
        feed: The market data; its products are keyed by product id.
        products: Product name -> id, of the configured products.
        metrics_url: Where the figures are, or None if nowhere.
    """

    auction: Auction
    feed: MarketFeed
    products: dict[str, str]
    metrics_url: str | None


async def run_server(
    config: Config,
    *,
    authorizer: Authorizer,
    clock: Clock | None = None,
    ids: IdFactory | None = None,
    ssl_context: ssl.SSLContext | None = None,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[RunningServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until `shutdown` is set and the service has stopped.

    Args:
        config: All settings.
        authorizer: Turns bearer tokens into rights.
        clock: By default the system's.
        ids: Makes ids, by default random ones.
        ssl_context: Verifies exchanges, by default against the system's authorities.
        shutdown: Begins an orderly stop.
        task_status: Gets the running server, once products exist and feeds are open.

    Raises:
        AddressInUse: The port is taken.
        InvalidRequest: A configured product is not usable.
        SocketError: The first connection to an exchange failed.
        StoreFailed: The store cannot be opened.
    """
    _make_folder(config.feed.record)
    async with trio.open_nursery() as nursery:
        auction: Auction = await nursery.start(
            partial(
                run_auction,
                config,
                authorizer=authorizer,
                solver=ClearingSolver(config.solver),
                clock=clock,
                ids=ids,
                shutdown=shutdown,
            )
        )
        service = auction.service
        products = await ensure_products(service, config)
        feed = MarketFeed(
            _instruments(service, products.values()),
            config=config.feed.streams(ssl_context),
            on_mid=partial(_set_reference, service, clock or SystemClock()),
        )
        _follow_others(feed, service)
        async with trio.open_nursery() as feeding:
            await feeding.start(feed.run)
            metrics_url = await _show_metrics(auction, config, feeding)
            task_status.started(
                RunningServer(
                    auction=auction,
                    feed=feed,
                    products=products,
                    metrics_url=metrics_url,
                )
            )
            await shutdown.wait()
            feeding.cancel_scope.cancel()


def _follow_others(feed: MarketFeed, service: Service) -> None:
    """Follow all products that exist or will, beside those that the feed has."""
    for product, data in _app_data(service).items():
        _follow(feed, product, data)

    def follow_new(product: str, app_data: bytes) -> None:
        _follow(feed, product, msgspec.json.decode(app_data))

    service.watch_products(follow_new)


async def _show_metrics(
    auction: Auction, config: Config, nursery: trio.Nursery
) -> str | None:
    settings = config.metrics
    if settings.port is None:
        return None
    metrics = ServiceMetrics(auction)
    nursery.start_soon(metrics.watch)
    url = await nursery.start(
        partial(serve, metrics, host=settings.host, port=settings.port)
    )
    return f"{url}/metrics"


def _make_folder(record: str | None) -> None:
    if record is None:
        return
    try:
        Path(record).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"feed.record: {record} cannot be made a folder: {error.strerror}"
        raise InvalidRequest(msg) from error


async def ensure_products(service: Service, config: Config) -> dict[str, str]:
    """Make the configured products that do not exist yet; return name -> id."""
    known: dict[str, str] = {}
    for key, data in _app_data(service).items():
        if isinstance(data, dict) and isinstance(data.get("name"), str):
            known.setdefault(data["name"], key)
    for product in config.product:
        if product.name not in known:
            app_data = msgspec.json.encode(product.app_data())
            known[product.name] = (await service.create_product(app_data)).id
    return {product.name: known[product.name] for product in config.product}


def _instruments(
    service: Service, configured: Iterable[str]
) -> dict[str, FeedInstrument]:
    """Return the instruments of the configured products, which must be usable."""
    found: dict[str, FeedInstrument] = {}
    known = _app_data(service)
    for key in configured:
        try:
            instrument = instrument_of(known[key])
        except ValueError as error:
            msg = f"product {key}: {error}"
            raise InvalidRequest(msg) from error
        if instrument is not None:
            found[key] = instrument
    return found


def _follow(feed: MarketFeed, product: str, app_data: object) -> None:
    """Follow a product that a request has made, if it names a market."""
    try:
        instrument = instrument_of(app_data)
    except ValueError as error:
        # It was accepted, so nothing about it may end the server or keep it from
        # starting; it has no price.
        _log.warning("the product %s has no market data: %s", product, error)
        return
    if instrument is not None:
        feed.follow(product, instrument)


def _app_data(service: Service) -> dict[str, Any]:
    """Every product's decoded app_data, in order of making."""
    found: dict[str, Any] = {}
    wanted = ProductFilter(limit=_PAGE)
    while True:
        page = service.products(wanted)
        for record in page.results:
            found[record.id] = msgspec.json.decode(msgspec.json.encode(record.app_data))
        if page.more is msgspec.UNSET:
            return found
        wanted = ProductFilter(limit=_PAGE, after=page.more)


def _set_reference(
    service: Service, clock: Clock, product: str, price: float | None, _time: Timestamp
) -> None:
    # Stamped by our clock, the one batches are stamped by: an image fetched by HTTP
    # has no time of the exchange, and a recording's times lie in the past.
    if price is None:
        service.clear_reference(product, clock.now_ns())
    else:
        service.set_reference(product, price, clock.now_ns())
