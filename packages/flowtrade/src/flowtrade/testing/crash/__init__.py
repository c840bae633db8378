"""Killing a whole server under load, again and again, and asking what it has kept.

`torment` runs a real server in a process of its own, lets bidders write to it over HTTP
while auctions run, kills it with SIGKILL at a random instant, and checks the store
against what the bidders were told. `Point` names instants that chance rarely hits.
"""

from flowtrade.testing.crash.audit import Toll
from flowtrade.testing.crash.harness import torment
from flowtrade.testing.crash.victim import Point

__all__ = ["Point", "Toll", "torment"]
