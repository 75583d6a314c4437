"""What a process tells of itself: metrics, whether it lives, whether it is ready.

Counting happens where the work is, in plain integers; reading happens when somebody scrapes, from frozen snapshots.
:mod:`~affidavit.monitor.exposition` and :mod:`~affidavit.monitor.readiness` are pure,
:mod:`~affidavit.monitor.server` is the edge, :mod:`~affidavit.monitor.process` ties them together for one process.
"""
