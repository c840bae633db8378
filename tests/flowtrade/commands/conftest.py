"""The command line as a user runs it, in this process."""

import pytest


@pytest.fixture
def run(capsys):
    """Run the command line; return its exit code, its output and its complaints."""
    pytest.importorskip("cyclopts")
    from flowtrade.cli import main

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return ended.value.code, shown.out, shown.err

    return run
