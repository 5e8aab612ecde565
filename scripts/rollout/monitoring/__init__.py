"""Monitoring: jobs that keep 007's views and logs up to date, probes, alerts, a watch that can be interrupted, and metrics."""
