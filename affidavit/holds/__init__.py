"""Matters and holds, as people work with them: who they are, whom they name, what it would hold, and that it does.

The rules are in ``retention/``; here they meet the directory of people, ClickHouse, the archive and the command line.
"""
