"""Parts of a record in the clear, with their salts, for whoever is to verify them without our keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from schemas.entry import COMMITMENT_BYTES
from schemas.evidence import Evidence, Status
from schemas.part_streams import open_shared
from schemas.parts import CHUNKS, SHARED, OpenedPart, Opener, PartKeys, SealedPart
from signer.earlier import EarlierRecords
from signer.verify_parts import Fetch, PartFinding, PartVerifier
from signer.verify_records import Comparison


class Disclosed(NamedTuple):
    """What was found of a part, and the part where it is there."""

    finding: PartFinding
    part: OpenedPart | None


class Discloser:
    """Verifies and opens records of one destination. Use one per thread."""

    def __init__(self, comparison: Comparison) -> None:
        self._source, self._fetch = comparison.source, comparison.fetch
        self._verifier = PartVerifier(comparison.keys, comparison.fetch, comparison.erasures, comparison.source)
        self._earlier, self._opener = EarlierRecords(comparison.source), Opener()

    def disclose(
        self, origin: str, index: int, kind: int, commitments: bytes, evidence: Evidence
    ) -> Sequence[Disclosed]:
        """Each committed part of a record, in the order of the entry."""
        found = {item.part_type: item for item in self._verifier.record(origin, index, kind, commitments, evidence)}
        held = self._verifier.decode(evidence, True)
        keys = self._verifier.part_keys([held])
        sealed = {part.type: part for part in (held.record.parts if held.record else evidence.outside)}
        opened = {part.type: part for part in evidence.opened}
        parts = []
        for at in range(0, len(commitments), COMMITMENT_BYTES):
            part_type = commitments[at]
            finding = found[part_type]
            part = None
            if finding.status is Status.OK:
                part = opened.get(part_type)
                if part is None and part_type in sealed:
                    own = sealed[part_type]
                    part = self._open(own, commitments[at + 1 : at + COMMITMENT_BYTES], evidence, keys[own.key_id])
            parts.append(Disclosed(finding, part))
        return parts

    def _open(self, part: SealedPart, commitment: bytes, evidence: Evidence, keys: PartKeys) -> OpenedPart:
        """A part that has just been verified."""
        event_id, key = evidence.event_id, keys.key(evidence.event_id, part.type)
        if part.codec == SHARED:
            assert self._fetch is not None
            held = self._earlier.held(evidence.shard.topic, part, keys)
            data = b"".join(open_shared(self._opener, part, commitment, event_id, key, self._fetch, held))
            return OpenedPart(part.type, self._opener.unseal(part, commitment, event_id, key).salt, data)
        if part.address:
            assert self._fetch is not None
            part = part._replace(ciphertext=_whole(self._fetch, part.address), address="")
        if part.codec == CHUNKS:
            held = self._earlier.held(evidence.shard.topic, part, keys)
            return self._opener.open(part, commitment, event_id, key, held)
        return self._opener.open(part, commitment, event_id, key)


def _whole(fetch: Fetch, address: str) -> bytes:
    found = fetch(address)
    return found if isinstance(found, bytes) else b"".join(found)
