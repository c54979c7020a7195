"""Imported by what job processes are copied from: the year of New York's exchange that most tests of backfills use."""

from datetime import UTC, datetime

from datastore.gaps import calendars

SESSIONS = calendars.sessions("XNYS", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 12, 30, tzinfo=UTC))
