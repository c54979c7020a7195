"""The console's pages, a package for each: a router, its entry in the navigation, and its templates."""

from typing import Final

from fastapi import APIRouter

from datastore.console.pages import (
    chart,
    completeness,
    fundamentals,
    jobs,
    news,
    options,
    overview,
    policies,
    rows,
    series,
    sql,
    tenants,
)
from datastore.console.rendering import Entry

PAGES: Final[tuple[tuple[APIRouter, Entry], ...]] = (
    (overview.router, overview.ENTRY),
    (series.router, series.ENTRY),
    (chart.router, chart.ENTRY),
    (completeness.router, completeness.ENTRY),
    (jobs.router, jobs.ENTRY),
    (options.router, options.ENTRY),
    (news.router, news.ENTRY),
    (fundamentals.router, fundamentals.ENTRY),
    (rows.router, rows.ENTRY),
    (sql.router, sql.ENTRY),
    (policies.router, policies.ENTRY),
    (tenants.router, tenants.ENTRY),
)
"""Every page, in the order of the navigation."""
