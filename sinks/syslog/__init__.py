"""The sink for whatever takes syslog: RFC 5424 over TLS (RFC 5425), each message a line of CEF.

* :mod:`~sinks.syslog.cef`: a record as CEF. :mod:`~sinks.syslog.message`: the syslog message around it. Both pure.
* :mod:`~sinks.syslog.stream`: the connection.
"""
