"""The commands, as Invoke's tasks. Thin: check the flags, show, confirm, call the library, exit with its verdict."""
