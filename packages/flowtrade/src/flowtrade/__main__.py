"""`python -m flowtrade`: the same as the command `flowtrade`."""

from flowtrade.cli import main

__all__: list[str] = []

main()
