"""The server: an application on a port, and the whole service in one nursery."""

from flowtrade.serve.auction import Auction, run_auction
from flowtrade.serve.server import listen, serve
from flowtrade.serve.signals import stop_on_signals

__all__ = ["Auction", "listen", "run_auction", "serve", "stop_on_signals"]
