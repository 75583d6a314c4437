"""The sink for whoever speaks OCSF (Open Cybersecurity Schema Framework): JSON over HTTP, or in files.

* :mod:`~sinks.ocsf.event`: a record as an OCSF event. Pure.
* :mod:`~sinks.ocsf.http`: batches over HTTP. :mod:`~sinks.ocsf.files`: lines in files, one for each shard and day.
"""
