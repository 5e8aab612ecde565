"""The ways to rewrite a table that are compared, each a function from a Subject to what it Measured."""
