"""The endpoints, in a module for each subject. Each checks the token, calls one function of the control plane, and
returns its result."""

from typing import Final

from fastapi import APIRouter

from datastore.service.routes import (
    aggregates,
    backfills,
    calendars,
    health,
    jobs,
    policies,
    reading,
    schema,
    series,
    tenants,
    vendors,
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    schema.router,
    policies.router,
    vendors.router,
    aggregates.router,
    tenants.router,
    series.router,
    reading.router,
    calendars.router,
    backfills.router,
    jobs.router,
)
"""Every router of the service, in the order of the documentation."""
