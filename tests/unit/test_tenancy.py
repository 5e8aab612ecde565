"""Names in a change's tenancy: read as locks are, quoted or not, and refused when they are none or stand twice."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rollout.engine.security.model import Tenancy


def test_names_are_read_as_the_catalogue_has_them() -> None:
    """Quotes go, dots within them stay, and a function's types are spaced as Postgres says them."""
    found = Tenancy.model_validate({
        "tables": {
            'public."Order"': {"tenant": "id"},
            '"public".steps': {"through": {"column": "order_id", "parent": '"public"."Order"'}},
            'public."a.b"': {"tenant": "id"},
        },
        "withheld": {'"audit"."log_*"': {"why": "kept"}},
        "shared": {"public.plans": "all"},
        "definers": {'"rollout".known( uuid[],text )': "tells nothing"},
    })
    assert list(found.tables) == ["public.Order", "public.steps", "public.a.b"]
    through = found.tables["public.steps"].through
    assert through is not None and through.parent == "public.Order"
    assert list(found.withheld) == ["audit.log_*"] and list(found.definers) == ["rollout.known(uuid[], text)"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"tables": {"orders": {"tenant": "id"}}}, "is not schema.name"),
        ({"shared": {"public.plans": "all", '"public"."plans"': "again"}}, "said twice: public.plans"),
        ({"definers": {"rollout.known": "why"}}, "is not schema.name"),
        ({"tables": {"public.steps": {"through": {"column": "a", "parent": "orders"}}}}, "is not schema.name"),
    ],
)
def test_what_is_no_name(said: dict[str, object], told: str) -> None:
    """A name without its schema would match nothing, silently; two spellings of one would hide each other."""
    with pytest.raises(ValidationError, match=told):
        Tenancy.model_validate(said)
