"""Observability: logs, metrics, drift statistics and samples of requests."""
