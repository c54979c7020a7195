"""Errors of the database, as an operator reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
from psycopg import errors

from datastore import config
from datastore.commands import options
from datastore.connections import not_the_operators
from mds_client.errors import MDSOperationalError, RLSDenied, mapped


@contextmanager
def explained(context: click.Context) -> Iterator[None]:
    """Raise the client's error, which says what to do, for each error of the driver."""
    try:
        yield
    except psycopg.Error as error:
        raise _explained(context, mapped(error)) from error
    except RLSDenied as error:
        raise _explained(context, error) from error


def _explained(context: click.Context, error: MDSOperationalError) -> Exception:
    """Return the error, or the advice to use another DSN if the login is an application's."""
    dsn = options.named(context)
    refused = isinstance(error, RLSDenied) and error.sqlstate == errors.InsufficientPrivilege.sqlstate
    said = not_the_operators(dsn) if refused and dsn is not None else None
    return error if said is None else config.SettingsError(said)
