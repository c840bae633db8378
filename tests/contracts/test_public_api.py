"""What a module exports exists and is documented (the linter keeps it sorted)."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import flowtrade
import integration
import netcore

PACKAGES = (netcore, integration, flowtrade)


def walk():
    for package in PACKAGES:
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not found.name.endswith("__main__"):
                yield found.name


def load(name) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {p.__name__ for p in PACKAGES}:
            raise
        pytest.skip(f"{name} needs the optional package {error.name}")


@pytest.mark.parametrize("name", list(walk()))
def test_every_module_says_what_it_is_for(name):
    assert (load(name).__doc__ or "").strip()


@pytest.mark.parametrize("name", list(walk()))
def test_exported_names_are_unique_and_exist(name):
    module = load(name)
    exported = list(getattr(module, "__all__", ()))

    assert len(exported) == len(set(exported))
    assert [n for n in exported if not hasattr(module, n)] == []


@pytest.mark.parametrize("name", list(walk()))
def test_exported_classes_and_functions_have_docstrings(name):
    module = load(name)
    undocumented = [
        n
        for n in getattr(module, "__all__", ())
        if callable(thing := getattr(module, n))
        and getattr(thing, "__module__", "").startswith(name.split(".")[0])
        and not (getattr(thing, "__doc__", "") or "").strip()
    ]

    assert undocumented == []
