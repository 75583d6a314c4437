"""Sinks: where records go. One shape, one contract, one runner."""
