"""Retention: policies, holds, purge plans, certificates. Not built yet."""
