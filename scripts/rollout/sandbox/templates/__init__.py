"""Configuration files of the sandbox's servers, as Jinja2 templates next to this module."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  (configuration files, not HTML)
)


def render(name: str, **values: object) -> str:
    """Return a template filled in; a name that it does not get is an error."""
    return _environment.get_template(name).render(**values)
