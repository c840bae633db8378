"""The repository's own promises: equal versions, a true map, no foreign hosts."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(ROOT.glob("packages/*/pyproject.toml")) + sorted(
    ROOT.glob("apps/*/pyproject.toml")
)


def project(path):
    return tomllib.loads(path.read_text())["project"]


def test_all_members_carry_one_version():
    assert len({project(path)["version"] for path in MEMBERS}) == 1


def test_every_member_ships_its_types():
    for path in MEMBERS:
        assert list(path.parent.glob("src/*/py.typed")), path


def test_every_top_level_module_stands_on_the_map():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = []
    for package in ("netcore", "integration", "flowtrade"):
        source = ROOT / "packages" / package / "src" / package
        for path in source.iterdir():
            name = path.stem
            is_module = path.suffix == ".py" or (path / "__init__.py").exists()
            if is_module and not name.startswith("_") and f"`{name}" not in text:
                missing.append(f"{package}.{name}")
    assert missing == []


def test_every_place_the_map_names_exists():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(
        re.findall(r"`((?:packages|apps|docs|tests|benchmarks)/[\w./-]+)`", text)
    )
    assert named
    assert [place for place in named if not (ROOT / place).exists()] == []


def test_the_lock_file_names_only_the_public_index():
    registries = set(
        re.findall(r'registry = "([^"]+)"', (ROOT / "uv.lock").read_text())
    )
    assert registries == {"https://pypi.org/simple"}


def test_served_pages_load_nothing_from_elsewhere():
    static = ROOT / "packages/flowtrade/src/flowtrade/api/static"
    for page in [*static.glob("*.html"), *static.glob("*.css"), *static.glob("*.js")]:
        assert not re.findall(
            r"""(?:src|href|url|import)\W{1,3}https?://""", page.read_text()
        )


def test_no_module_is_longer_than_the_house_rule():
    folders = ("packages", "apps", "tests", "benchmarks", "examples", "fuzz")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {path: path.read_text().count("\n") for path in modules}

    assert len(modules) > 500
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > 700} == {}


def test_tests_are_no_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []
