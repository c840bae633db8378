"""The adapters by which outside suites reach the FIX room, run as they run them."""

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from netcore.clock import SystemClock
from netcore.fix import FixParser, encode, utc_timestamp
from netcore.testing import reserved_port

ADAPTERS = Path(__file__).resolve().parents[2] / "adapters"
ORDER = "11=ID|21=3|40=1|54=1|55=INTC|60=20240808-12:00:00"


def load(name):
    spec = importlib.util.spec_from_file_location(
        f"adapter_{name}", ADAPTERS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def listen():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listeners[0], listeners[0].socket.getsockname()[1]


class Client:
    """The other side of an adapter, byte by byte."""

    def __init__(self, stream, begin_string, us, them):
        self.stream = stream
        self.begin_string = begin_string
        self.names = [(49, us), (56, them)]
        self.parser = FixParser()
        self.messages = []

    async def say(self, text):
        kind, number, *rest = text.split("|")
        fields = [tuple(field.split("=", 1)) for field in (kind, number)]
        fields += self.names
        fields.append((52, utc_timestamp(SystemClock().now_ns(), 0).decode()))
        fields += [tuple(field.split("=", 1)) for field in rest]
        pairs = [(int(tag), value) for tag, value in fields]
        await self.stream.send_all(encode([(8, self.begin_string), *pairs]))

    async def hear(self):
        while not self.messages:
            data = await self.stream.receive_some()
            if not data:
                return "the end"
            self.messages += self.parser.feed(data)
        message = self.messages.pop(0)
        return "|".join(
            f"{tag}={value.decode()}"
            for tag, value in message
            if tag not in {8, 9, 49, 52, 56, 10}
        )


async def connect(port):
    """Connect as soon as somebody listens."""
    while True:
        try:
            return await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.lowlevel.checkpoint()


async def stop(process):
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


def test_the_codec_reads_and_writes():
    codec = load("fix_codec").Codec()
    data = codec.encode([(8, b"FIX.4.4"), (35, b"D"), (11, b"a"), (58, b"x")])

    assert codec.feed(b"noise" + data[:10]) == []
    assert codec.feed(data[10:]) == [
        [
            (8, b"FIX.4.4"),
            (9, b"15"),
            (35, b"D"),
            (11, b"a"),
            (58, b"x"),
            (10, data[-4:-1]),
        ]
    ]


@pytest.fixture
async def venue(nursery):
    with reserved_port() as port:
        process = await nursery.start(run_program, "fix_acceptor", str(port))
        yield port
        await stop(process)


async def run_program(name, *arguments, task_status):
    process = await trio.lowlevel.open_process(
        [sys.executable, str(ADAPTERS / f"{name}.py"), *arguments],
        stdout=subprocess.PIPE,
    )
    task_status.started(process)
    assert await process.stdout.receive_some() == b""
    await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin_string", "name", "version"),
    [
        ("FIX.4.0", "TW40", ""),
        ("FIX.4.4", "TW44", ""),
        ("FIXT.1.1", "TW50", "7"),
        ("FIXT.1.1", "TW50SP1", "8"),
        ("FIXT.1.1", "TW50SP2", "9"),
    ],
)
async def test_the_acceptor_echoes_orders(venue, begin_string, name, version):
    more = f"|1137={version}" if version else ""
    order = ORDER.rpartition("|60")[0] + "|38=1" if begin_string == "FIX.4.0" else ORDER
    echo = "|".join(sorted(order.split("|"), key=lambda f: int(f.partition("=")[0])))
    for _ in range(2):
        client = Client(await connect(venue), begin_string, name, "ISLD")
        with trio.fail_after(60):
            await client.say(f"35=A|34=1|98=0|108=30{more}")
            assert await client.hear() == f"35=A|34=1|98=0|108=30{more}"
            await client.say(f"35=D|34=2|{order}")
            assert await client.hear() == f"35=D|34=2|{echo}"
            await client.say(f"35=D|34=3|97=Y|{order}")
            other = order.replace("11=ID", "11=JD")
            await client.say(f"35=D|34=4|97=Y|{other}")
            assert (await client.hear()).startswith("35=D|34=3|97=Y|11=JD|")
            await client.say("35=5|34=5")
            assert await client.hear() == "35=5|34=4"
            assert await client.hear() == "the end"
        await client.stream.aclose()


@pytest.mark.slow
async def test_the_acceptor_rejects_what_it_does_not_know(venue):
    client = Client(await connect(venue), "FIX.4.4", "TW44", "ISLD")
    with trio.fail_after(60):
        await client.say("35=A|34=1|98=0|108=30")
        await client.hear()
        await client.say("35=8|34=2|37=id|17=id|150=0|39=0|55=A|54=1|151=1|14=0|6=0")
        assert await client.hear() == (
            "35=j|34=2|45=2|58=Unsupported Message Type|372=8|380=3"
        )
        await client.say("35=0|34=3|5000=x")
        assert "371=5000" in await client.hear()
    await client.stream.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begin_string", "name", "more"),
    [("FIX.4.4", "TW44", ""), ("FIXT.1.1", "TW50SP2", "|1137=9")],
)
async def test_the_initiator_logs_on_echoes_and_comes_back(
    nursery, begin_string, name, more
):
    listener, port = await listen()
    process = await nursery.start(
        run_program, "fix_initiator", str(port), begin_string, name, "7"
    )
    with trio.fail_after(60):
        for _ in range(2):
            client = Client(await listener.accept(), begin_string, name, "ISLD")
            assert await client.hear() == f"35=A|34=1|98=0|108=7{more}"
            await client.say(f"35=A|34=1|98=0|108=7{more}")
            await client.say(f"35=D|34=2|{ORDER}")
            assert (await client.hear()).startswith("35=D|34=2|11=ID")
            await client.say("35=5|34=3")
            assert await client.hear() == "35=5|34=3"
            assert await client.hear() == "the end"
            await client.stream.aclose()
    await stop(process)
    await listener.aclose()
