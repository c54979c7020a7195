"""Policies: what happens to rows at a certain age, and how far back rollups are refreshed.

The kinds declare them, an operator can override them (`store.policies`, which migrations leave alone), and the server
applies them if the engine can, otherwise workers do.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, get_args

from datastore import aggregates
from datastore.connections import as_owner
from datastore.engines import Driver, Engine, Setting
from datastore.errors import ControlError
from mds_client import KINDS
from mds_client.schema import Kind

Policy = Literal["columnstore_after", "retention_after", "cold_after", "refresh_within"]

POLICIES: Final[tuple[str, ...]] = get_args(Policy)


class PolicyError(ControlError):
    """A policy cannot be set as requested; the message says why."""


@dataclass(frozen=True, slots=True)
class PolicyState:
    """One policy of one relation.

    `declared` is the kind's value, `effective` the operator's or else the declared one; None is off (for
    `refresh_within`: any age). `kept_by` is `server`, `worker` or `nobody` (the engine cannot); `in_force` is the value
    of the server's own job, `last_run` the status of its last run.
    """

    relation: str
    policy: str
    declared: timedelta | None
    effective: timedelta | None
    is_set: bool
    kept_by: str
    in_force: timedelta | None
    last_run: str | None


@dataclass(frozen=True, slots=True)
class Expiry:
    """The rows that retention removes of a kind: those older than an age."""

    kind: str
    older_than: timedelta
    rows: int


_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta | None:
    """Parse an age: a count and m, h, d or w, as in 90d; None for `off`. Raises PolicyError for other text."""
    if text == "off":
        return None
    if text[:-1].isdecimal() and text[-1:] in _UNITS:
        with contextlib.suppress(OverflowError):
            return timedelta(**{_UNITS[text[-1:]]: int(text[:-1])})
    raise PolicyError(f"{text!r} is not an age: use a number and m, h, d or w, such as 90d; or off")


def declared() -> Iterator[Setting]:
    """Yield the declared policies of every relation that can have one."""
    for kind in KINDS.values():
        if kind.storage is not None:
            yield Setting(kind.name, "columnstore_after", kind.storage.columnstore_after)
        yield Setting(kind.name, "retention_after", kind.storage.retention_after if kind.storage else None)
        if kind.cold:
            yield Setting(kind.name, "cold_after", None)
    for kind, rollup in aggregates.rollups():
        yield Setting(aggregates.relation(kind, rollup), "refresh_within", None)


def states(engine: Engine, driver: Driver) -> list[PolicyState]:
    """Return every policy: the declared value, the override, and the server's job."""
    stored = _stored(driver)
    jobs = {(job.relation, job.policy): job for job in engine.in_force(driver)}
    states = []
    for setting in declared():
        key = (setting.relation, setting.policy)
        job = jobs.get(key)
        states.append(
            PolicyState(
                relation=setting.relation,
                policy=setting.policy,
                declared=setting.value,
                effective=stored.get(key, setting.value),
                is_set=key in stored,
                kept_by=_keeper(engine, setting),
                in_force=job.value if job else None,
                last_run=job.last_run_status if job else None,
            )
        )
    return states


def store_setting(driver: Driver, relation: str, policy: str, value: timedelta | None) -> None:
    """Override a policy; None switches it off. Call `enforce` to make the server apply it.

    Raises PolicyError if the relation has no such policy, or the value is invalid.
    """
    known = {(setting.relation, setting.policy) for setting in declared()}
    if (relation, policy) not in known:
        there = ", ".join(sorted({f"{name} {what}" for name, what in known}))
        raise PolicyError(f"{relation!r} has no policy {policy!r}; there are: {there}")
    if value is not None and value <= timedelta(0):
        raise PolicyError(f"{policy} must be a positive age, not {value}")
    if value is not None and value < (shortest := _shortest(relation, policy)):
        raise PolicyError(f"{policy} of {relation} is {shortest} or more: two intervals of the rollup that needs it")
    driver.execute(
        "INSERT INTO store.policies (relation, policy, value) VALUES (%s, %s, %s)"
        " ON CONFLICT (relation, policy) DO UPDATE SET value = excluded.value",
        (relation, policy, value),
    )


def check_cold(driver: Driver, kind: str, policy: str, value: timedelta | None) -> None:
    """Refuse a retention that would remove rows that should be kept in files, and the other way round.

    Retention removes the rows of all tenants, and does not know about files. Raises PolicyError.
    """
    if value is None or policy not in ("cold_after", "retention_after") or kind not in KINDS or not KINDS[kind].cold:
        return
    if policy == "cold_after":
        if (retention := dict(_with_retention(driver, kind)).get(KINDS[kind])) is not None:
            raise PolicyError(f"{kind} are removed after {retention}: switch retention_after off first")
    elif _stored(driver).get((kind, "cold_after")) is not None or has_cold(driver, kind):
        raise PolicyError(
            f"{kind} are kept in files after a time: nothing of them is removed. See datastore cold status"
        )


def has_cold(driver: Driver, kind: str) -> bool:
    """Return whether any tenant has, or will have, rows of a kind in files."""
    return bool(
        driver.execute(
            "SELECT FROM store.cold_fences WHERE kind = %s AND (cold_before IS NOT NULL OR cold_after IS NOT NULL)"
            " LIMIT 1",
            (kind,),
        ).rowcount
    )


def clear_setting(driver: Driver, relation: str, policy: str) -> None:
    """Remove the override of a policy."""
    driver.execute("DELETE FROM store.policies WHERE relation = %s AND policy = %s", (relation, policy))


def enforce(engine: Engine, driver: Driver) -> list[PolicyState]:
    """Create the server's background jobs for the effective policies, if the engine has them; return all policies."""
    effective = {(state.relation, state.policy): state.effective for state in states(engine, driver)}
    for setting in declared():
        kind = KINDS.get(setting.relation)
        if kind is None or kind.storage is None or setting.policy == "cold_after":
            continue
        engine.keep(driver, Setting(setting.relation, setting.policy, effective[setting.relation, setting.policy]))
    for kind, rollup in aggregates.rollups():
        name = aggregates.relation(kind, rollup)
        within = _refreshable(kind, effective[kind.name, "retention_after"], effective[name, "refresh_within"])
        engine.keep_fresh(driver, kind, rollup, within)
    return states(engine, driver)


def count_expired(engine: Engine, driver: Driver, kind: str | None = None) -> list[Expiry]:
    """Count the rows that retention would remove now: of one kind, or of every kind that has it."""
    return [Expiry(found.name, age, engine.expired(driver, found, age)) for found, age in _with_retention(driver, kind)]


def remove_expired(engine: Engine, driver: Driver, kind: str | None = None) -> list[Expiry]:
    """Remove the rows that `count_expired` counts, and no others.

    Raises PolicyError, and removes nothing, for a kind that is kept in files, because retention does not know about
    files.
    """
    for found, _ in _with_retention(driver, kind):
        if found.cold and (has_cold(driver, found.name) or _stored(driver).get((found.name, "cold_after")) is not None):
            raise PolicyError(f"{found.name} are kept in files: switch their retention_after off")
    return [Expiry(found.name, age, engine.expire(driver, found, age)) for found, age in _with_retention(driver, kind)]


def _shortest(relation: str, policy: str) -> timedelta:
    """Return the shortest allowed age: a refresh needs the rows of a rollup's last two intervals."""
    widths = [
        rollup.width
        for kind, rollup in aggregates.rollups()
        if (policy == "retention_after" and relation == kind.name)
        or (policy == "refresh_within" and relation == aggregates.relation(kind, rollup))
    ]
    return 2 * max(widths, default=timedelta(0))


def _with_retention(driver: Driver, only: str | None) -> Iterator[tuple[Kind, timedelta]]:
    stored = _stored(driver)
    for setting in declared():
        if setting.policy != "retention_after" or only not in (None, setting.relation):
            continue
        age = stored.get((setting.relation, setting.policy), setting.value)
        if age is not None:
            yield KINDS[setting.relation], age


def _refreshable(kind: Kind, retention: timedelta | None, within: timedelta | None) -> timedelta | None:
    """Return how far back the server may refresh a rollup: never over rows that retention has removed, because the
    rollup would lose its data of them."""
    if retention is None:
        return within
    assert kind.storage is not None
    kept = max(retention - kind.storage.chunk, retention / 2)
    return kept if within is None else min(kept, within)


def _stored(driver: Driver) -> dict[tuple[str, str], timedelta | None]:
    rows = driver.execute("SELECT relation, policy, value FROM store.policies").fetchall()
    return {(relation, policy): value for relation, policy, value in rows}


def _keeper(engine: Engine, setting: Setting) -> str:
    if setting.policy == "columnstore_after" and not engine.has_columnstore:
        return "nobody"
    if setting.policy == "refresh_within" and not engine.materialized():
        return "nobody"
    if setting.policy == "cold_after":
        return "worker"
    kind = KINDS.get(setting.relation)
    chunked = kind is None or kind.storage is not None
    return "server" if engine.has_own_jobs and chunked else "worker"


def policies(dsn: str) -> list[PolicyState]:
    """Return every policy: the declared value, the override, and the server's job."""
    with as_owner(dsn) as (engine, driver):
        return states(engine, driver)


def set_policy(dsn: str, relation: str, policy: str, value: timedelta | None) -> list[PolicyState]:
    """Override a policy (None: off), and create the server's job for it if the engine has one.

    Raises PolicyError if the relation has no such policy, or the value is invalid.
    """
    with as_owner(dsn) as (engine, driver):
        check_cold(driver, relation, policy, value)
        store_setting(driver, relation, policy, value)
        return enforce(engine, driver)


def unset_policy(dsn: str, relation: str, policy: str) -> list[PolicyState]:
    """Restore the declared value, and create the server's job for it if the engine has one."""
    with as_owner(dsn) as (engine, driver):
        clear_setting(driver, relation, policy)
        return enforce(engine, driver)


def would_remove(dsn: str, kind: str, age: timedelta) -> int:
    """Return how many rows of a kind retention would remove now if it had this age. Counts the rows; removes nothing.

    Args:
        dsn: The control plane's DSN.
        kind: The kind.
        age: The age at which rows would be removed.

    Raises:
        PolicyError: The kind does not exist.
    """
    if kind not in KINDS:
        raise PolicyError(KINDS.unknown(kind))
    with as_owner(dsn) as (engine, driver):
        return engine.expired(driver, KINDS[kind], age)


def apply_policies(dsn: str) -> list[PolicyState]:
    """Create the server's background jobs for all policies. A migration does this, too."""
    with as_owner(dsn) as (engine, driver):
        return enforce(engine, driver)


def expire(dsn: str, kind: str | None = None, *, dry_run: bool = False) -> list[Expiry]:
    """Remove the rows that are past retention, of one kind or all; with `dry_run`, only count them."""
    with as_owner(dsn) as (engine, driver):
        work = count_expired if dry_run else remove_expired
        return work(engine, driver, kind)
