"""The command `datastore` as it is installed: where only the client library was, it says what is missing."""

import sys


def main() -> None:
    """Run `datastore.cli`; exit code 2 where a package that it needs is not there."""
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
