"""A Redis: taken, restored, exchanged, merged and compared."""
