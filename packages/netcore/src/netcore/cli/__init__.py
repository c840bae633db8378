"""The command line `netcore`: `ws`, `record`, `replay`, `inspect`, `rtt` and `fix`."""

from netcore.cli.shell import main

__all__ = ["main"]
