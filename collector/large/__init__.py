"""Large things: bodies that lie on disk while they are read, parts that lie in the object store.

* :mod:`collector.large.spool`: a body on disk, within a bound of its own.
* :mod:`collector.large.lighten`: a body without its long strings, which formats read in its place.
* :mod:`collector.large.restore`: the exact bytes again, and what stands for them in the derived view.
* :mod:`collector.large.elide`: the same for content of formats that read their bodies whole.
* :mod:`collector.large.segments`: a body of many small records, some of them at a time.
* :mod:`collector.large.blobs`: parts that are too large for the bus, sealed into the object store.
"""
