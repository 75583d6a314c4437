"""Evidence bundles: records with everything that proves them, in one file that verifies without us.

``affidavit.bundle/1`` is a ZIP file (``docs/evidence-bundle.md``)::

    README.txt                       what this is, and how to verify it, for people
    manifest.json                    what was asked for, and the SHA-256 of every other file
    policy                           whom the bundle says to believe (tlog-policy); a verifier brings its own
    records.jsonl                    one record a line: its entry, its parts, its proofs
    parts/<address>/<part>           the exact bytes that were committed to
    readable/<address>.json          the metadata as text, for reading; proves nothing
    proofs/<address>.tlog-proof      from the record to the checkpoint of its log (C2SP tlog-proof)
    anchors/<n>/checkpoint           the anchored bytes of an attested head of the anchor log
    anchors/<n>/set-<index>.bin      an entry of it: a checkpoint set
    anchors/<n>/set-<index>.tlog-proof
    anchors/<n>/tsa-<name>.tsr …     what vouches for the head
    verify.py, verify.html           verifiers: one file each, without Affidavit, offline
"""
