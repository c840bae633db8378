"""`netcore rtt`: probes answered, lost and refused, by either driver."""

import pytest
import trio

from netcore.cli.exits import Exit, NetcoreExit, UsageFault
from netcore.cli.rtt import measure
from netcore.cli.talk import Interrupts, race
from netcore.errors import ConnectionClosed

DRIVERS = [
    ["--driver", "busy"],
    ["--driver", "trio"],
    ["--driver", "trio", "--spin", "0.001"],
]


async def hold(ws):
    async for _ in ws:
        pass


async def chatter(ws):
    """Talk of other things besides answering."""
    async for payload in ws:
        ws.send_many(["noise", payload, "more noise"])
        ws.send_ping(b"are you there?")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_pings_are_timed_one_by_one(serve, options, captured, interrupts, driver):
    server = await serve(hold)
    shown = captured(json=True)

    await measure(
        options("rtt", server.url, "--json", "--count", 5, "--interval", 0, *driver),
        shown.output, interrupts,
    )  # fmt: skip

    *probes, summary = shown.events
    assert [p["number"] for p in probes] == [1, 2, 3, 4, 5]
    times = sorted(p["ns"] for p in probes)
    assert times[0] > 0
    assert (summary["min"], summary["p50"], summary["max"]) == (
        times[0], times[2], times[4],
    )  # fmt: skip
    assert (summary["count"], summary["lost"], summary["kind"]) == (5, 0, "ping")


@pytest.mark.parametrize("driver", DRIVERS)
async def test_echoes_are_told_from_other_messages(
    serve, options, captured, interrupts, driver
):
    server = await serve(chatter)
    shown = captured(json=True)

    await measure(
        options(
            "rtt", server.url, "--json", "--echo", "--size", 300, "--count", 3,
            "--interval", 0.001, *driver,
        ),
        shown.output, interrupts,
    )  # fmt: skip

    summary = shown.events[-1]
    assert (summary["count"], summary["lost"], summary["size"]) == (3, 0, 300)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_is_not_answered_is_lost(
    serve, options, captured, interrupts, driver
):
    server = await serve(hold)
    shown = captured(json=False)

    with pytest.raises(NetcoreExit) as caught:
        await measure(
            options(
                "rtt", server.url, "--echo", "--count", 2, "--warmup", 1,
                "--answer", 0.02, "--interval", 0, *driver,
            ),
            shown.output, interrupts,
        )  # fmt: skip

    assert caught.value.code is Exit.FAILED
    assert shown.lines == ["     1  lost", "     2  lost", "0 round trips, 2 lost"]


async def test_people_see_times_and_bars(serve, options, captured, interrupts):
    server = await serve(hold)
    shown = captured(json=False)

    await measure(
        options("rtt", server.url, "--quiet", "--count", 4, "--interval", 0),
        shown.output, interrupts,
    )  # fmt: skip

    assert shown.lines[0].startswith("4 round trips: min ")
    assert sum(int(line.split("#")[-1].split()[0]) for line in shown.lines[1:]) == 4


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_peer_that_leaves_ends_it_with_what_was_measured(
    serve, options, captured, interrupts, driver
):
    async def leave(ws):
        ws.send_text(await ws.receive_text())
        ws.send_text(await ws.receive_text())
        await ws.aclose(4000, "enough")

    server = await serve(leave)
    shown = captured(json=True)

    with pytest.raises(ConnectionClosed, match="enough"):
        await measure(
            options("rtt", server.url, "--json", "--echo", "--interval", 0, *driver),
            shown.output, interrupts,
        )  # fmt: skip

    assert shown.events[-1]["count"] == 1


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_signal_ends_it_with_what_was_measured(
    serve, options, captured, driver
):
    server = await serve(hold)
    shown, interrupts = captured(json=True), Interrupts()

    async def interrupt():
        while len(shown.lines) < 3:
            await trio.lowlevel.checkpoint()
        interrupts.interrupt()
        await trio.sleep_forever()

    async def run():
        await measure(
            options(
                "rtt", server.url, "--json", "--count", 10**6, "--interval", 0, *driver
            ),
            shown.output, interrupts,
        )  # fmt: skip

    await race(run, interrupt)

    assert shown.events[-1]["event"] == "summary"
    assert shown.events[-1]["count"] >= 3


@pytest.mark.parametrize("wrong", [["--size", "7"], ["--size", "126"]])
async def test_sizes_that_do_not_fit_are_refused(options, captured, interrupts, wrong):
    with pytest.raises(UsageFault, match="--size must be"):
        await measure(
            options("rtt", "ws://127.0.0.1:1", *wrong),
            captured(json=False).output, interrupts,
        )  # fmt: skip
