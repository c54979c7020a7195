"""`/schema/version`, `/schema/check`, `/migrate`: the database's schema."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from datastore import migration, reads
from datastore.migration import Migration
from datastore.reads import Database
from datastore.service.models import model_of
from datastore.service.openapi import problem
from datastore.service.security import StoreAdmin, StoreReader
from datastore.service.state import Here

router = APIRouter(tags=["schema"])


class Drift(BaseModel):
    """List the differences between the declarations and the database, a sentence each."""

    drift: list[str]


@router.get("/schema/version", response_model=model_of(Database))
def schema_version(here: Here, _: StoreReader) -> Any:
    """Describe the database: server, engine, schema version, the version that this release needs, known problems."""
    return reads.describe(here.dsn)


@router.get("/schema/check", response_model=Drift)
def check(here: Here, _: StoreReader) -> Drift:
    """Compare the database with the declarations."""
    return Drift(drift=migration.check(here.dsn))


@router.post("/migrate", response_model=model_of(Migration), responses={409: problem(409)})
def migrate(here: Here, _: StoreAdmin) -> Any:
    """Migrate the database to head, also an empty one; answers when it is done.

    You can repeat it. Of several at the same time, one runs and the others wait. It is no job, because it creates the
    table of jobs.
    """
    return migration.migrate(here.dsn)
