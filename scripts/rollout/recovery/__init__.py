"""Physical base backups and the archived log of a Postgres server: any moment since the first one can be brought back.

The engine is Postgres' own: pg_basebackup, pg_receivewal and pg_verifybackup, over the replication protocol, with nothing
installed on the database's host. Ours is the way to the object store, the bookkeeping, and the proof (decision 0014).
"""
