"""The roles of a server: no dump of a database holds them, and nothing can be restored whose owner does not exist."""

from __future__ import annotations

from rollout.environment import Database
from rollout.snapshots import contents
from rollout.snapshots.records import Role


def read(database: Database) -> list[Role]:
    """Return the roles of a database's server, without passwords; raise Failed when it does not answer."""
    with contents.reading(database) as connection:
        rows = connection.execute(contents.statement("roles")).fetchall()
    return [Role(name=n, attributes=a, member_of=list(m), settings=list(s)) for n, a, m, s in rows]


def differences(expected: list[Role], found: list[Role]) -> list[str]:
    """Return a sentence for each role that is missing or has other rights; further ones there are no difference."""
    have = {role.name: role for role in found}
    said = []
    for role in expected:
        other = have.get(role.name)
        if other is None:
            said.append(f"role {role.name} is missing")
        elif other != role:
            said.append(f"role {role.name} is {other.attributes}, member of {', '.join(other.member_of) or 'none'}")
    return said
