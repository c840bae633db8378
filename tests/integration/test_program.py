"""A program ends with one clear line and the right code, whatever ended it."""

import signal
import subprocess
import sys

import pytest
import trio

from integration.program import causes, run_program

# A program that says when it runs, and does what it is told when it is asked to stop.
PROGRAM = """
import sys, trio
from integration.program import run_program

class Usage(ValueError): pass
class World(OSError): pass

async def main(shutdown):
    print("running", flush=True)
    async with trio.open_nursery() as nursery:
        match sys.argv[1]:
            case "waits":
                await shutdown.wait()
            case "stays":
                await shutdown.wait()
                print("asked", flush=True)
                await trio.sleep_forever()
            case "usage":
                raise Usage("the port\\nis taken")
            case "world":
                raise World("the disk is gone")
            case "bug":
                raise ZeroDivisionError("a bug")

sys.exit(run_program("name", main, usage_errors=(Usage,), run_errors=(World,)))
"""


@pytest.fixture
def start():
    processes = []

    def begin(what):
        process = subprocess.Popen(  # noqa: S603  # our own text
            [sys.executable, "-c", PROGRAM, what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "running\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_the_program_to_stop(start, number):
    process = start("waits")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (0, "")


def test_the_second_signal_ends_it_where_it_stands(start):
    process = start("stays")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=60) == 130


@pytest.mark.parametrize(
    ("what", "code", "line"),
    [
        ("usage", 2, "name: the port is taken\n"),
        ("world", 1, "name: the disk is gone\n"),
    ],
)
def test_an_expected_error_is_one_line(start, what, code, line):
    process = start(what)
    _, said = process.communicate(timeout=60)

    assert (process.returncode, said) == (code, line)


def test_a_bug_keeps_its_traceback(start):
    process = start("bug")
    _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "ZeroDivisionError: a bug" in said


def test_an_error_among_unexpected_ones_is_a_bug():
    async def main(_shutdown):
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("both", [OSError("world"), ZeroDivisionError()])

    with pytest.RaisesGroup(OSError, ZeroDivisionError, flatten_subgroups=True):
        run_program("name", main, run_errors=(OSError,))


def test_causes_are_the_leaves_in_order():
    inner = ExceptionGroup("i", [OSError(1), ExceptionGroup("j", [OSError(2)])])

    assert [e.args for e in causes(ExceptionGroup("o", [inner, OSError(3)]))] == [
        (1,),
        (2,),
        (3,),
    ]
