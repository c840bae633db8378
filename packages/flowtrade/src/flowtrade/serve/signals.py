"""Signals: the first asks for an orderly stop, the second for an immediate one."""

from integration.program import stop_on_signals

__all__ = ["stop_on_signals"]
