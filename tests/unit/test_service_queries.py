"""Named statements."""

from __future__ import annotations

import pytest

from service.process import configuration
from service.queries import parse


def test_blocks_are_split_and_comments_dropped() -> None:
    """A name may hold several statements, in order; comments, even with a semicolon, do not reach the server."""
    found = parse("-- About; this.\n-- name: a\n-- why;\nSELECT 1;\n\nSELECT ';x', 2;\n-- name: b\nSELECT 3\n")
    assert found == {"a": [b"SELECT 1", b"SELECT ';x', 2"], "b": [b"SELECT 3"]}


@pytest.mark.parametrize("text", ["-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;", "-- name: a\n-- nothing\n"])
def test_a_name_twice_or_empty_is_refused(text: str) -> None:
    """Neither may decide silently which statement runs."""
    with pytest.raises(ValueError, match="'a' stands twice or is empty"):
        parse(text)


def test_the_configuration_names_what_is_missing() -> None:
    """Every missing variable is named, and connection strings do not show when it is printed."""
    with pytest.raises(ValueError, match=r"ROLLOUT_APP_PORT.*ROLLOUT_APP_OLTP_DSN"):
        configuration({"ROLLOUT_APP_HOST": "127.0.0.1"})
    names = ("HOST", "COLOUR", "REDIS_URL", "OLTP_DSN", "CONTENT_DSN", "QUEUE_DSN", "OLAP_DSN", "WORKER_DSN")
    given = {f"ROLLOUT_APP_{name}": "secret" for name in names} | {"ROLLOUT_APP_PORT": "80"}
    shown = repr(configuration(given))
    assert shown.count("secret") == 2  # host and colour
    with pytest.raises(ValueError, match="not a port"):
        configuration(given | {"ROLLOUT_APP_PORT": "http"})
