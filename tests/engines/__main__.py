"""`python -m tests.engines`: both engines until Ctrl-C; with `--prepare`, they are only downloaded."""

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.engines import DSN_VARIABLES, EngineUnavailable, apache, community, must_have, promtool, server

PREPARE: dict[str, Callable[[], Path]] = {
    "timescale-apache": lambda: apache.prepare(refresh=True),
    "timescale": community.prepare,
    "promtool": promtool.prepare,
}


def main() -> int:
    """Start or prepare the engines; the exit code is 1 where one is missing that must be there."""
    parser = argparse.ArgumentParser(prog="python -m tests.engines", description=__doc__)
    parser.add_argument("--prepare", action="store_true", help="download and install, start nothing")
    return prepare() if parser.parse_args().prepare else serve()


def prepare() -> int:
    """Have both in the cache, and say where."""
    missing = False
    for name, get in PREPARE.items():
        try:
            show(name, str(get()))
        except EngineUnavailable as reason:
            missing = True
            show(name, "not available", str(reason))
    return int(missing and must_have())


def serve() -> int:
    """Start both, print how to reach them, and stop them at the first Ctrl-C or SIGTERM."""
    missing = False
    with ExitStack() as running:
        for name, variable in DSN_VARIABLES.items():
            engine = server(name)
            try:
                engine.start()
            except EngineUnavailable as reason:
                missing = True
                show(name, "not available", str(reason))
                continue
            running.callback(engine.stop)
            show(name, engine.version, f"{variable}='{engine.superuser_dsn()}'")
        print("Ctrl-C stops them.", flush=True)
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            signal.pause()
        except KeyboardInterrupt:
            pass
    return int(missing and must_have())


def show(name: str, *facts: str) -> None:
    """A line of the table, on one line however long it is: a DSN is there to be copied."""
    print(f"{name:<18}", *(f"{fact:<40}" for fact in facts[:-1]), facts[-1], flush=True)


if __name__ == "__main__":
    sys.exit(main())
