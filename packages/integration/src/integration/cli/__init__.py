"""The command line: `venues`, `watch`, `book`, `record`, `replay` and `sign`."""

from integration.cli.shell import main
from integration.cli.targets import parse_target

__all__ = ["main", "parse_target"]
