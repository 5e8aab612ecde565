"""Walks over every relation of secured databases: what a role sees and writes for a tenant, by every command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from secured import SHARED, Place, whose

from rollout.engine.security.catalogue import Relation

APP, SETTING = "penguin_app", "app.current_tenant_id"
DENIED = errors.InsufficientPrivilege
Root = psycopg.Connection[Any]


def tenants(place: Place) -> list[str]:
    """Return the ids of three tenants."""
    with place.root("oltp") as root:
        return [str(row[0]) for row in root.execute("SELECT id FROM tenants ORDER BY created, id LIMIT 3")]


@contextmanager
def acting(root: Root, role: str, tenant: str | None) -> Iterator[None]:
    """Act as a role for a tenant (None: none is set) in a transaction that is rolled back; triggers of old clients rest."""
    with root.transaction(force_rollback=True):
        # Foreign keys rest, so that what is counted is what policies let through and nothing else.
        root.execute("SET LOCAL session_replication_role = replica")
        root.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        if tenant is not None:
            root.execute("SELECT set_config(%s, %s, true)", (SETTING, tenant))
        yield


@contextmanager
def opened(root: Root, relations: list[Relation]) -> Iterator[None]:
    """Give the application every privilege on every relation, in a transaction that is rolled back: policies alone protect."""
    with root.transaction(force_rollback=True):
        for schema in dict.fromkeys(r.schema_ for r in relations):
            root.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO penguin_app, penguin_worker, penguin_analyst").format(
                sql.Identifier(schema)))  # fmt: skip
        for relation in relations:
            if relation.kind != "m":
                root.execute(
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {relation.relation}"
                    " TO penguin_app, penguin_worker, penguin_analyst".encode()
                )
        yield


def rows(root: Root, query: str) -> list[str]:
    """Return the first column of a query, sorted."""
    return sorted(str(row[0]) for row in root.execute(query.encode()))


def refused(root: Root, statement: str, error: type[psycopg.Error] | tuple[type[psycopg.Error], ...] = DENIED) -> None:
    """Run a statement that has to be refused."""
    with pytest.raises(error), root.transaction():
        root.execute(statement.encode())


def multi_tenant(place: Place, tier: str) -> list[Relation]:
    """Return every relation of a tier that holds or shows rows of tenants, materialised views aside."""
    every = place.relations(tier).values()
    return [r for r in every if r.name not in SHARED and r.kind != "m" and not r.extension]


def walk(place: Place, tier: str) -> int:
    """Walk every relation, tenant and command as the application; return how many relations were walked."""
    first, second, _ = tenants(place)
    relations = multi_tenant(place, tier)
    with place.root(tier) as root, opened(root, relations):
        for relation in relations:
            name, mine = relation.relation, whose(relation)
            own = {
                t: rows(root, f"SELECT to_jsonb(t)::text FROM {name} AS t WHERE {mine} = '{t}'")
                for t in (first, second)
            }
            seen = f"SELECT to_jsonb(t)::text FROM {name} AS t"
            for tenant in (first, second, None, ""):
                expected = own.get(tenant or "", [])
                with acting(root, APP, tenant):
                    assert rows(root, seen) == expected, (name, tenant)
                    _reads(root, relation, expected)
                    if relation.schema_ != "v1":  # the old side is written by its sync alone
                        _writes(root, relation, expected, own, tenant)
            _prepared(root, relation, own)
    return len(relations)


def _reads(root: Root, relation: Relation, expected: list[str]) -> None:
    name = relation.relation
    # A condition that says what it sees must not be asked of others' rows: it divides by zero only there.
    count = root.execute(f"SELECT count(*) FROM {name} AS t WHERE length(to_jsonb(t)::text) > 0".encode()).fetchone()
    assert count == (len(expected),)
    with root.cursor().copy(f"COPY (SELECT 1 FROM {name}) TO STDOUT".encode()) as copied:
        assert b"".join(copied).count(b"\n") == len(expected), name
    if relation.kind == "r":  # of a partitioned one Postgres copies, under row security, the rows of no partition
        with root.cursor().copy(f"COPY {name} TO STDOUT".encode()) as copied:
            assert b"".join(copied).count(b"\n") == len(expected), name
        refused(root, f"COPY {name} FROM STDIN", errors.FeatureNotSupported)


def _writes(root: Root, relation: Relation, expected: list[str], own: dict[str, list[str]], tenant: str | None) -> None:
    name = relation.relation
    if relation.name == "campaign_performance_mv":
        refused(root, f"DELETE FROM {name}", errors.ObjectNotInPrerequisiteState)
        return
    column = next(
        c for c in relation.column_order if c in ("updated", "updated_at", "created", "created_at", "copied_at")
    )
    with root.transaction(force_rollback=True):
        touched = rows(root, f"UPDATE {name} AS t SET {column} = {column} RETURNING 1")
        assert len(touched) == len(expected), (name, "update")
    with root.transaction(force_rollback=True):
        assert len(rows(root, f"DELETE FROM {name} RETURNING 1")) == len(expected), (name, "delete")
    for other, theirs in own.items():
        if other == tenant or not theirs:
            continue
        record = sql.Literal(theirs[0]).as_string()
        statement = (
            f"INSERT INTO {name} ({', '.join(relation.column_order)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(relation.column_order)} FROM jsonb_populate_record(NULL::{name}, {record}::jsonb)"
        )
        if relation.name == "users" and tenant:
            refused(root, statement, errors.UniqueViolation)  # a new user may be written by whoever acts for a tenant
            continue
        refused(root, statement)
        refused(root, statement + " RETURNING 1")
        # What is taken already is left alone, or not to be written: never overwritten, and never shown.
        if relation.is_table:
            refused(root, f"{statement} ON CONFLICT DO NOTHING")
        if "tenant_id" in relation.columns and expected and relation.is_table:
            refused(root, f"UPDATE {name} SET tenant_id = '{other}'", (DENIED, errors.CheckViolation))


def _prepared(root: Root, relation: Relation, own: dict[str, list[str]]) -> None:
    """A statement that one tenant's transaction has prepared shows the next one its own rows."""
    root.execute(f"PREPARE walked AS SELECT to_jsonb(t)::text FROM {relation.relation} AS t".encode())
    for _ in range(2):
        for tenant, expected in own.items():
            with acting(root, APP, tenant):
                assert rows(root, "EXECUTE walked") == expected
        with acting(root, APP, None):
            assert rows(root, "EXECUTE walked") == []
    root.execute("DEALLOCATE walked")
