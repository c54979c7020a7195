"""The entry point of the command `datastore`; without the needed packages, it says what is missing."""

import sys

from mds_client import __version__


def main() -> None:
    """Run `datastore.cli`. Exits with 2 if a package that a command needs is not installed."""
    if sys.argv[1:] == ["--version"]:
        print(f"datastore, version {__version__}")  # noqa: T201 - as click prints it
        return
    try:
        from datastore import cli

        # Commands import slow packages when they run.
        cli.main()
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in ("datastore", "mds_client"):
            raise
        print(  # noqa: T201 - what commands print with may be what is missing
            f"error: datastore needs {missing.name}, which is not installed: install the extra embedded,"
            " or datastore for a server that is there already (see Installing)",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
