"""A snapshot brought back beside the live data, compared, and only then exchanged with it by name."""
