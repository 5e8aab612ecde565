"""Phased, reversible schema rollouts over Postgres, Redis, an object store and a load balancer."""
