"""Measurements against the budgets of the design. ``python -m bench`` prints the table; nothing here is a test."""
