"""import-linter checks the rooms that its contract names: a module in none of them could import anything it likes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ROOT_MODULES = {"rootless", "rootless.container"}  # packages whose own __init__ holds nothing but a docstring


def modules() -> set[str]:
    found = set()
    for top, name in (CHECKOUT / "rootless", "rootless"), (CHECKOUT / "fuse", "rootless.fuse"):
        for file in top.rglob("*.py"):
            parts = file.relative_to(top).with_suffix("").parts
            found.add(".".join((name, *parts)).removesuffix(".__init__"))
    return found


def layered() -> list[str]:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return re.findall(r"[a-z_.]+", " ".join(layers))


def test_every_module_is_in_a_room_that_the_contract_names() -> None:
    rooms = layered()
    free = {
        module for module in modules() if not any(module == room or module.startswith(f"{room}.") for room in rooms)
    }
    assert free - ROOT_MODULES == set()


def test_packages_outside_all_rooms_hold_a_docstring_only() -> None:
    for module in ROOT_MODULES:
        source = (CHECKOUT / module.replace(".", "/") / "__init__.py").read_text()
        assert not re.search(
            r"^\s*(from|import)\s", source.replace("from __future__ import annotations", ""), re.MULTILINE
        )
