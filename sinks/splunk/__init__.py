"""The sink into Splunk, over the HTTP Event Collector (HEC).

* :mod:`~sinks.splunk.envelope`: a record as Splunk's JSON envelope; :mod:`~sinks.splunk.oversize`: too large ones.
* :mod:`~sinks.splunk.parcels`: envelopes as request bodies, each for one index.
* :mod:`~sinks.splunk.verdict`: what an answer of Splunk means. All of these are pure.
* :mod:`~sinks.splunk.flight`: what of one shard is under way, confirmed or rejected. Pure.
* :mod:`~sinks.splunk.channel`: one connection with its channel, and the acknowledgements that are due on it.
* :mod:`~sinks.splunk.post`: a parcel, sent until each of its events is taken or convicted.
* :mod:`~sinks.splunk.search`: what Splunk's index holds, asked by search.
* :mod:`~sinks.splunk.sink`: all of it as a :class:`sinks.contract.Settling` sink.
"""
