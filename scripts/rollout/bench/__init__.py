"""The bench: what a change costs the clients of a live table, measured on a server of its own against other ways to do it."""
