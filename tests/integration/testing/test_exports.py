"""What `integration.testing` offers, and what importing it costs."""

import subprocess
import sys
from importlib import import_module

import pytest

import integration.testing


def test_every_public_name_is_there_and_documented():
    pytest.importorskip("trio_websocket")
    names = integration.testing.__all__

    assert names == sorted(names)
    assert dir(integration.testing) == names
    for name in names:
        assert getattr(integration.testing, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nope"):
        _ = integration.testing.nope


@pytest.mark.parametrize(
    "part", ["market", "recording", "book", "events", "faults", "derived"]
)
def test_the_pure_parts_need_no_socket_library(part):
    code = (
        f"import sys, integration.testing, integration.testing.{part};"
        "print({'trio', 'trio_websocket', 'h11', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


PARTS = (
    "book derived events market recording faults dialect limits server client simulator"
)


@pytest.mark.parametrize("part", PARTS.split())
def test_every_part_has_the_names_it_states(part):
    pytest.importorskip("trio_websocket")
    module = import_module(f"integration.testing.{part}")

    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
