"""What the terminal shows: a table on a TTY, JSON lines elsewhere."""

from typing import IO, Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowtrade.models.batch import BatchStatus
from flowtrade.models.update import BatchUpdate, ReferenceUpdate

__all__ = ["JsonLines", "Show", "TableShow", "make_show"]


class Show(Protocol):
    """Where updates go."""

    def start(self, url: str) -> None:
        """Everything is up; the page is at `url`."""

    def update(self, update: BatchUpdate | ReferenceUpdate) -> None:
        """Something was published."""

    def stop(self) -> None:
        """The run is over."""


def make_show(stream: IO[str], *, json: bool) -> Show:
    """Return a table if `stream` is a terminal, else (or if asked) JSON lines."""
    return JsonLines(stream) if json or not stream.isatty() else TableShow(stream)


class JsonLines:
    """One JSON object a line: `started`, every batch and every reference update."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def start(self, url: str) -> None:
        """Write where the page is."""
        self._write({"event": "started", "url": url})

    def update(self, update: BatchUpdate | ReferenceUpdate) -> None:
        """Write an update as published, with the name of its event."""
        name = "batch" if isinstance(update, BatchUpdate) else "reference"
        self._write({"event": name, **msgspec.to_builtins(update)})

    def stop(self) -> None:
        """Write that it is over."""
        self._write({"event": "stopped"})

    def _write(self, value: dict[str, object]) -> None:
        self._stream.write(msgspec.json.encode(value).decode() + "\n")
        self._stream.flush()


class TableShow:
    """The last batch as a table that stays in place."""

    def __init__(self, stream: IO[str]) -> None:
        self._live = Live(console=Console(file=stream), auto_refresh=False)
        self._url = ""
        self._batch: BatchUpdate | None = None
        self._mids: dict[str, float | None] = {}

    def start(self, url: str) -> None:
        """Begin to draw."""
        self._url = url
        self._live.start()
        self._draw()

    def update(self, update: BatchUpdate | ReferenceUpdate) -> None:
        """Draw anew."""
        if isinstance(update, ReferenceUpdate):
            self._mids.update(update.mids)
        else:
            self._batch = update
        self._draw()

    def stop(self) -> None:
        """Leave the last picture on the screen."""
        self._live.stop()

    def _draw(self) -> None:
        head = Text.assemble(
            ("flowtrade", "bold"), "  page: ", (self._url, "underline"), "  Ctrl-C ends"
        )
        parts: list[Text | Table] = [head]
        if self._batch is None:
            parts.append(Text("waiting for the first batch…", "dim"))
        else:
            parts += [_summary(self._batch), _products(self._batch, self._mids)]
            if not isinstance(self._batch.bids, msgspec.UnsetType):
                parts.append(_bids(self._batch))
        self._live.update(Group(*parts), refresh=True)


def _summary(batch: BatchUpdate) -> Text:
    line = Text(f"batch {batch.seq}  {batch.as_of}  ")
    if batch.status is not BatchStatus.CLEARED:
        line.append(f"{batch.status.value}: {batch.error}", "bold red")
        return line
    certificate = batch.certificate
    if certificate is not None:
        line.append(certificate.status.value, "green")
        line.append(
            f"  gap {certificate.relative_gap:.0e}"
            f"  imbalance {certificate.relative_imbalance:.0e}"
        )
    line.append(f"  gains {_number(batch.gains)}")
    return line


def _products(batch: BatchUpdate, mids: dict[str, float | None]) -> Table:
    table = Table("product", box=None, pad_edge=False)
    for title in ("clearing price", "exchange mid", "difference", "rate traded"):
        table.add_column(title, justify="right")
    for key, product in batch.products.items():
        mid = mids.get(key, product.reference)
        price = product.price
        gap = (
            "-" if not mid or price is None else f"{(price - mid) / mid * 1e4:+.2f} bp"
        )
        table.add_row(
            product.name or key,
            _number(price),
            _number(mid),
            gap,
            _number(product.rate),
        )
    return table


def _bids(batch: BatchUpdate) -> Table:
    table = Table("bid", box=None, pad_edge=False)
    table.add_column("portfolio price", justify="right")
    table.add_column("rate", justify="right")
    assert not isinstance(batch.bids, msgspec.UnsetType)  # noqa: S101  # the caller's
    for bid in batch.bids:
        style = "green" if bid.rate > 0 else "red" if bid.rate < 0 else "dim"
        table.add_row(
            bid.name or bid.portfolio,
            _number(bid.price),
            Text(_number(bid.rate), style),
        )
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:,.4f}"
