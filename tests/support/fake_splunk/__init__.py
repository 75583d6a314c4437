"""A Splunk that takes events over HEC, acknowledges them, forgets, fails on command, and can be searched a little.

Written to the tables of Splunk's documentation ("HTTP Event Collector error codes", "HTTP Event Collector indexer
acknowledgement", ``inputs.conf.spec``), for tests and for whoever wants to see what would arrive::

    PYTHONPATH=tests/support python -m fake_splunk --port 8088 --token 00000000-0000-0000-0000-000000000001

* :mod:`fake_splunk.hec`: what HEC answers; no I/O, and every call says what time it is.
* :mod:`fake_splunk.search`: the one form of ``tstats`` that reconciliation uses.
* :mod:`fake_splunk.server`: both over HTTP or HTTPS, and as a transport for httpx.
"""

from fake_splunk.hec import FakeSplunk, Fault, Reply, Stored, Token
from fake_splunk.server import ServedSplunk, client, served

__all__ = ["FakeSplunk", "Fault", "Reply", "ServedSplunk", "Stored", "Token", "client", "served"]
