"""The servers with TimescaleDB that the test-suite starts by itself.

`server(name)` gives one that is not started yet: `timescale-apache` (see `apache`) or `timescale` (see
`community`), or the user's own if `MDS_TEST_APACHE_DSN` or `MDS_TEST_TIMESCALE_DSN` names it. `start`
raises `EngineUnavailable` where this machine cannot have it; `must_have` says whether that is a
failure, or its tests are left out. Plain PostgreSQL is `datastore.embedded`, or what
`MDS_TEST_POSTGRES_DSN` names (`given_postgres`).
`python -m tests.engines` starts both and waits.
"""

import os
from collections.abc import Mapping

from tests.engines.apache import ApacheServer
from tests.engines.base import EngineServer, EngineUnavailable, GivenServer
from tests.engines.community import CommunityServer

__all__ = [
    "DSN_VARIABLES",
    "ApacheServer",
    "CommunityServer",
    "EngineServer",
    "EngineUnavailable",
    "GivenServer",
    "given_postgres",
    "must_have",
    "server",
]

DSN_VARIABLES = {"timescale-apache": "MDS_TEST_APACHE_DSN", "timescale": "MDS_TEST_TIMESCALE_DSN"}


def server(name: str, environment: Mapping[str, str] = os.environ) -> EngineServer:
    """The server for an engine, not started: the user's own where the environment names one, else one of
    ours.
    """
    variable = DSN_VARIABLES[name]
    if dsn := environment.get(variable):
        return GivenServer(name, variable, dsn)
    return ApacheServer() if name == "timescale-apache" else CommunityServer()


def given_postgres(environment: Mapping[str, str] = os.environ) -> GivenServer | None:
    """The user's own plain PostgreSQL, by a superuser's DSN, or None where the environment names none."""
    variable = "MDS_TEST_POSTGRES_DSN"
    dsn = environment.get(variable)
    return GivenServer("postgres", variable, dsn, timescale=False) if dsn else None


def must_have(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a missing engine is a failure: in CI it is, on a user's machine its tests are left out."""
    return environment.get("CI", "").lower() not in ("", "0", "false")
