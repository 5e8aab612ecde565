"""The catalogue of a database as pg_dump tells it, piece by piece, and what pg_dump does not tell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cases import Case, q
from cluster import Cluster

PIECE = re.compile(
    r"^--\n-- Name: (?P<name>.*?); Type: (?P<type>.*?); Schema: (?P<schema>.*?); Owner: .*\n--\n", re.MULTILINE
)
NOISE = re.compile(r"^(\\(un)?restrict .*|--.*|SET default_table.*|)\n", re.MULTILINE)
REST = Path(__file__).with_name("dump_rest.sql")


def pieces(cluster: Cluster, dbname: str, case: Case) -> dict[str, str]:
    """Return everything in the database but the rollout's own schemas, by what it is."""
    hidden = ["rollout", "twin", "kit", q(case.target_schema), q(case.old_schema), q(f"{case.old_schema}_face")]
    argv = [
        cluster.binaries / "pg_dump",
        "--schema-only",
        *(f"--exclude-schema={name}" for name in hidden),
        "--dbname",
        f"host=127.0.0.1 port={cluster.port} user=postgres dbname={dbname}",
    ]
    text = subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True, cwd="/").stdout
    found: dict[str, str] = {}
    marks = list(PIECE.finditer(text))
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        body = NOISE.sub("", text[mark.end() : after.start() if after else len(text)])
        name = f"{mark['type']} {mark['schema']} {mark['name']}"
        found[name] = found.get(name, "") + body
    with cluster.superuser(dbname) as connection:
        for (line,) in connection.execute(REST.read_bytes(), {"schema": q(case.schema)}):
            found[line] = ""
    return found


def changed(before: dict[str, str], after: dict[str, str], *, kept: bool, left: set[str]) -> list[str]:
    """Return a line for each piece that is missing, additional or different.

    `kept`: a sync with a shadow may stand; `left`: views that the change leaves behind.
    """
    before = {name: body for name, body in before.items() if not any(re.search(rf"\b{view}\b", name) for view in left)}
    if kept:
        after = {name: body for name, body in after.items() if "EXECUTE FUNCTION rollout." not in body}
    lines = [f"missing: {name}\n{before[name]}" for name in before if name not in after]
    lines += [f"additional: {name}\n{after[name]}" for name in after if name not in before]
    lines += [f"was: {before[n]}\nis: {after[n]}" for n in before if n in after and before[n] != after[n]]
    return lines
