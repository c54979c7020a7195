"""Printing of pages."""

from collections.abc import Iterable
from typing import Any

import click

from datastore.pages import ListPage
from mds_client.console import show_rows


def show_page(found: ListPage[Any], as_json: bool, columns: Iterable[str], empty: str) -> None:
    """Print a page and, if there are more, on stderr how to get the next one."""
    show_rows(found.items, as_json, None if as_json else columns, empty)
    if found.more:
        click.echo(f"there are more: --after {found.items[-1].id}", err=True)
