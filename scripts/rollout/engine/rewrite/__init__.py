"""The declared rewrite: one or more tables become another one, everything between the declaration and the SQL."""
