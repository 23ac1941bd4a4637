"""Small Dockerfiles from end to end: what their images have and are, on every driver; and what bad ones are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.dockerfiles import BADLY, CONTEXT, WELL, Case
from tests.build.made import Made, read
from tests.build.site import Site

COW = [pytest.param("cow", name, marks=pytest.mark.long) for name in WELL]
QUICK_ON_COW = ("run-removes", "copy-from-keeps-owners", "run-environment")


def files(case: Case) -> dict[str, str]:
    return {name: content for name, content in {**CONTEXT, **case.files}.items() if content is not None}


def options(site: Site, case: Case) -> list[str]:
    return [option.replace("{context}", str(site.directory)) for option in case.options]


def check(case: Case, made: Made, said: str) -> None:
    for path, expected in case.has.items():
        found = made.files.get(path)
        if expected is None:
            assert found is None, f"{path}: {found}"
        else:
            assert found is not None, f"{path} is not there"
            assert expected in (found.content, str(found)), f"{path}: {found}"
    assert {name: made.config.get(name) for name in case.config} == case.config
    assert not (missing := [text for text in case.history if text not in made.history]), (missing, made.history)
    for text in case.said:
        assert text in said
    for text in case.unsaid:
        assert text not in said


@pytest.mark.parametrize(
    ("driver", "name"), [*(("overlay", name) for name in WELL), *(("cow", name) for name in QUICK_ON_COW), *COW]
)
def test_well(bare_site: Site, tmp_path: Path, driver: str, name: str) -> None:
    site, case = bare_site, WELL[name]
    archive = tmp_path / "made.tar"
    words = ["--no-cache", "-o", f"type=oci,dest={archive}", *options(site, case)]
    said = site.ok(case.text, *words, files=files(case), env=dict(case.env), driver=driver)
    check(case, read(archive), said)


@pytest.mark.parametrize("name", BADLY)
def test_badly(bare_site: Site, name: str) -> None:
    site, case = bare_site, BADLY[name]
    done = site.build(case.text, *options(site, case), files=files(case), env=dict(case.env))
    said = done.stderr.decode()
    assert done.returncode in (1, 125), said
    assert said.splitlines()[-1].startswith("rootless: "), said
    for text in case.said:
        assert text.replace("{context}", str(site.directory)) in said, said
    assert "Traceback" not in said
