"""The change engine: what is applied in a database, and how a change is expanded, copied, compared, swapped and taken back."""
