"""Row security: whose a row is, said once a tier, and put on every relation that holds or shows the row."""
