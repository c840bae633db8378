"""Compiled and plain splitting and masking give the same, whatever comes.

The source of the compiled loops is plain Python, so three things are compared: that
source interpreted, the same compiled (where there was a compiler), and the plain
reader. Run the other tests of this folder with NETCORE_PURE=1 to have all of them
judge the plain one; `test_the_readers_tests_pass_the_other_way` does so for the core.
"""

import importlib.util
import itertools
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netcore import ws
from netcore.ws import COMPILED, FrameReader, Opcode, Role, _speedups, encode_frame
from netcore.ws.masking import mask_in_python
from netcore.ws.speedups import BUILT

FOLDER = Path(ws.__file__).parent
SOURCE = FOLDER / "_speedups.py"


def interpreted() -> ModuleType:
    """The module as it is where nothing was built."""
    loader = SourceFileLoader("interpreted_speedups", str(SOURCE))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


EITHER = pytest.mark.parametrize(
    "module",
    [
        pytest.param(interpreted(), id="interpreted"),
        pytest.param(
            _speedups,
            id="compiled",
            marks=pytest.mark.skipif(
                not BUILT, reason="netcore was installed without a C compiler"
            ),
        ),
    ],
)
FIRST = 0x81
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536]))


def regular(data: bytes, place: int, most: int) -> tuple[int, list[bytes]]:
    """What `split` is to do, said in the simplest way."""
    payloads = []
    while True:
        head = data[place : place + 4]
        if len(head) < 2 or head[0] != FIRST or head[1] > 126:
            return place, payloads
        size, start = head[1], place + 2
        if size == 126:
            size, start = int.from_bytes(head[2:], "big"), place + 4
            if len(head) < 4 or size < 126:
                return place, payloads
        payload = data[start : start + size]
        if size > most or len(payload) < size:
            return place, payloads
        payloads.append(payload)
        place = start + size


@st.composite
def streams(draw: st.DrawFn, *, key: bool = False) -> bytes:
    """Mostly regular frames, in long rows, with anything between and behind."""
    out = b""
    for _ in range(draw(st.integers(1, 6))):
        opcode = draw(st.sampled_from([1, 1, 1, 1, 2, 2, 0, 8, 9, 10, 3]))
        size = draw(SIZES if opcode < 8 else st.integers(0, 125))
        frame = encode_frame(
            opcode,
            (bytes(range(251)) * 300)[:size],
            fin=draw(st.sampled_from([True, True, True, opcode >= 8])),
            key=draw(st.integers(0, 0xFFFF_FFFF)) if key else None,
        )
        out += frame * draw(st.sampled_from([1, 1, 2, 9]))
    junk = draw(st.binary(max_size=12))
    return out + draw(st.sampled_from([b"", b"", junk]))


@EITHER
@given(data=streams(), most=st.sampled_from([0, 3, 125, 126, 250, 65535, 1 << 20]))
@example(data=b"", most=65535)
@example(data=b"\x81", most=65535)
@example(data=b"\x81\x00", most=0)
@example(data=b"\x81\x7e\x00", most=65535)
@example(data=b"\x81\x7e\x00\x7d" + bytes(125), most=65535)
@example(data=b"\x81\x7e\x00\x7e" + bytes(125), most=65535)
@example(data=b"\x81\x7f" + bytes(300), most=65535)
@example(data=b"\x81\x85" + bytes(300), most=65535)
def test_split_takes_exactly_the_regular_frames(module, data, most):
    payloads = [b"before"]

    end = module.split(data, 0, FIRST, most, payloads)

    assert (end, payloads[1:]) == regular(data, 0, most)
    assert payloads[0] == b"before"


@EITHER
@given(data=streams(), place=st.integers(0, 3000))
def test_split_begins_anywhere_up_to_the_end(module, data, place):
    place = min(place, len(data))
    payloads: list[bytes] = []

    end = module.split(data, place, FIRST, 65535, payloads)

    assert (end, payloads) == regular(data, place, 65535)


@EITHER
@pytest.mark.parametrize("place", [-1, -(1 << 40)])
def test_split_refuses_to_read_before_the_data(module, place):
    with pytest.raises(ValueError, match="place must not be negative"):
        module.split(b"\x81\x01x", place, FIRST, 65535, [])


@pytest.mark.skipif(not BUILT, reason="netcore was installed without a C compiler")
@pytest.mark.parametrize("wrong", [None, bytearray(b"\x81\x01x"), "x", 3])
def test_compiled_code_refuses_what_is_not_bytes(wrong):
    with pytest.raises(TypeError):
        _speedups.split(wrong, 0, FIRST, 65535, [])
    with pytest.raises(TypeError):
        _speedups.mask(wrong, 1)


@EITHER
@pytest.mark.parametrize("key", [0x01020304, 0xFFFEFDFC, 0x80000000, 0xFF, 0])
def test_masks_of_every_short_length_are_xor_with_the_repeated_key(module, key):
    for size in [*range(70), 511, 512, 513, 4099]:
        payload = os.urandom(size)
        expected = bytes(
            a ^ b for a, b in zip(payload, itertools.cycle(key.to_bytes(4, "big")))
        )

        assert module.mask(payload, key) == expected
        assert mask_in_python(payload, key) == expected


@EITHER
@pytest.mark.parametrize("size", [0, 1])
def test_masking_never_writes_into_shared_bytes(module, size):
    # CPython has one object for no bytes and one for each single byte.
    payload = b"\x55"[:size]

    module.mask(payload, 0xFFFF_FFFF)

    assert payload == b"\x55"[:size]


def state(reader: FrameReader) -> tuple[object, ...]:
    """All that a reader shows after a feed."""
    partial = reader.partial
    return (
        reader.payloads,
        reader.marks,
        reader.switches,
        reader.opcodes(),
        reader.opcode if reader.payloads else None,
        reader.fault,
        partial
        and (partial.opcode, partial.fin, partial.rsv1, partial.size, partial.key),
        partial and bytes(partial.data),
        reader.fresh(),
    )


@given(data=st.data(), role=st.sampled_from(Role))
def test_both_readers_show_the_same_after_every_piece(data, role):
    stream = data.draw(streams(key=role is Role.SERVER))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    options = {
        "max_frame_size": data.draw(st.sampled_from([1, 130, 65535, 1 << 20])),
        "extended": data.draw(st.booleans()),
    }
    plain = FrameReader(role, compiled=False, **options)
    compiled = FrameReader(role, compiled=True, **options)

    for start, end in itertools.pairwise([0, *sorted(cuts), len(stream)]):
        plain.feed(stream[start:end])
        compiled.feed(stream[start:end])
        assert state(compiled) == state(plain)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 130, 4095, 4096, 70_000])
def test_both_readers_agree_on_rows_of_regular_frames(step):
    kinds = [(Opcode.TEXT, 130), (Opcode.TEXT, 7), (Opcode.BINARY, 126)]
    stream = b"".join(
        encode_frame(opcode, bytes([number % 256]) * (size + number % 3))
        for opcode, size in kinds
        for number in range(60)
    )
    plain = FrameReader(Role.CLIENT, compiled=False)
    compiled = FrameReader(Role.CLIENT, compiled=True)

    for start in range(0, len(stream), step):
        piece = stream[start : start + step]
        plain.feed(piece)
        compiled.feed(piece)
        assert state(compiled) == state(plain)


# -- which one is used ---------------------------------------------------------------


def said(pure: str | None) -> str:
    """What a fresh process says about its build."""
    env = {name: value for name, value in os.environ.items() if name != "NETCORE_PURE"}
    if pure is not None:
        env["NETCORE_PURE"] = pure
    code = (
        "from netcore.ws import COMPILED, FrameReader, Role, masking\n"
        "print(COMPILED, FrameReader(Role.CLIENT)._split is not None,"
        " masking._mask is not masking.mask_in_python)"
    )
    return subprocess.run(  # noqa: S603 - our own code in our own interpreter
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_environment_forbids_compiled_code():
    assert said("1") == "False False False"


@pytest.mark.parametrize("pure", [None, "", "0"])
def test_compiled_code_is_used_wherever_it_was_built(pure):
    assert said(pure) == f"{BUILT} {BUILT} {BUILT}"


def test_the_module_says_which_it_is():
    assert Path(_speedups.__file__).suffix == (".py" if not BUILT else _SUFFIX)
    assert SOURCE.exists()
    assert SOURCE.with_suffix(".pxd").exists()


_SUFFIX = ".pyd" if os.name == "nt" else ".so"


@pytest.mark.slow
@pytest.mark.skipif(not BUILT, reason="netcore was installed without a C compiler")
def test_the_readers_tests_pass_the_other_way():
    """Whichever loops this run uses, these tests judge the other ones, too."""
    here = Path(__file__).parent
    modules = ["reader", "masking", "frames"]
    done = subprocess.run(  # noqa: S603 - our own tests in our own interpreter
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        + [str(here / f"test_{module}.py") for module in modules],
        env={**os.environ, "NETCORE_PURE": "1" if COMPILED else "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
