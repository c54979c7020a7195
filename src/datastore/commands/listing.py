"""How commands print a page of many things."""

from collections.abc import Iterable
from typing import Any

import click

from datastore.pages import Page
from mds_client.console import show_rows


def show_page(found: Page[Any], as_json: bool, columns: Iterable[str], empty: str) -> None:
    """Print a page, and where there are more, beside it, how to go on."""
    show_rows(found.items, as_json, None if as_json else columns, empty)
    if found.more:
        click.echo(f"there are more: --after {found.items[-1].id}", err=True)
