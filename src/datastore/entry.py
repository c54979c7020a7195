"""The command `datastore` as it is installed: where only the client library was, it says what is missing."""

import sys

from mds_client import __version__


def main() -> None:
    """Run `datastore.cli`; exit code 2 where a package that it needs is not there. Its version needs none."""
    if sys.argv[1:] == ["--version"]:
        print(f"datastore, version {__version__}")  # noqa: T201 - as click prints it
        return
    try:
        from datastore import cli
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in ("datastore", "mds_client"):
            raise
        print(  # noqa: T201 - what commands print with may be what is missing
            f"error: datastore needs {missing.name}, which is not installed: install the extra embedded,"
            " or datastore for a server that is there already (see Installing)",
            file=sys.stderr,
        )
        sys.exit(2)
    cli.main()


if __name__ == "__main__":
    main()
