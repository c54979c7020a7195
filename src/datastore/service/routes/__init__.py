"""The endpoints, a module for each subject. Each checks who asks, calls one function of the control plane, and answers
with what that returns."""

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
)

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health.router,
    schema.router,
    policies.router,
    aggregates.router,
    tenants.router,
    series.router,
    reading.router,
    calendars.router,
    backfills.router,
    jobs.router,
)
"""Every router of the service, in the order in which the documentation has them."""
