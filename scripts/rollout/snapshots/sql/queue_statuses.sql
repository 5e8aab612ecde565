-- What the database says of some jobs.
SELECT id, status FROM public.jobs WHERE id = ANY(%(ids)s::uuid[])
