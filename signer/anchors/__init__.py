"""Anchors: what vouches from outside for the anchor log. The Protocol and its contract, and where attestations lie.

An anchor is given the *anchored bytes*: a published checkpoint of the anchor log with exactly the log's own signature
line. So it vouches for the signature as well, and whoever steals the key later cannot sign for an earlier day. What the
anchor gives back, an *attestation*, is stored beside them::

    anchor/<origin of the anchor log>/<size, 20 digits>/checkpoint           the anchored bytes
                                                        tsa-<name>.tsr       RFC 3161 response; its request: .tsq
                                                        witness-<name>       cosignature lines (C2SP tlog-witness)
                                                        rekor-<name>.json    TransparencyLogEntry of Rekor v2
                                                        lock-<name>.json     where a locked copy lies

Of each attestation one file is the evidence; its SHA-256 is the *token* that later checkpoint sets carry, which proves
that they were taken after it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from schemas.errors import MalformedInput
from stores.objects import NewObject, Objects

ROOT = "anchor/"
CHECKPOINT = "checkpoint"

AnchorKind = Literal["tsa", "witness", "rekor", "lock"]

ENDINGS: dict[AnchorKind, str] = {"tsa": ".tsr", "witness": "", "rekor": ".json", "lock": ".json"}
"""How the name of an attestation's evidence ends."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""Names an anchor: in the settings, in object keys, in reports."""

_SIZE_DIGITS = 20


class AnchoredHead(NamedTuple):
    """A published checkpoint of an anchor log. ``note`` is the anchored bytes."""

    origin: str
    size: int
    note: bytes


ConsistencyProof = Callable[[int], list[bytes]]
"""From the leaves of an earlier size to the consistency proof to this head (RFC 6962 §2.1.2). Reads tiles; may raise
:class:`~schemas.errors.EvidenceIncomplete`."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """What an anchor has given for one head.

    Attributes:
        evidence: the bytes of the file that is the evidence.
        further: other files, by the ending that follows ``<kind>-<name>``, e.g. ``.tsq``.
        time_ms: when the anchor says that it saw the head, milliseconds since 1970 UTC; 0 when it says no time.
    """

    evidence: bytes
    further: tuple[tuple[str, bytes], ...] = ()
    time_ms: int = 0


class Anchor(Protocol):
    """One service that vouches for heads.

    **Blocking**: call it from a thread. Calls for one anchor come one after the other, in ascending order of sizes,
    not for every size. It keeps what it must remember (what a witness saw last) by asking the service.

    **Verifies before it returns**: what is stored was checked as a verifier will check it.

    **Failures**: :class:`~schemas.errors.Unavailable` when the service cannot be reached or asks for patience (tried
    again), :class:`~schemas.errors.Refused` when it answered and the answer is no, or is wrong (tried again, and
    reported as refused). :class:`~schemas.errors.LedgerContradiction` only with proof: it has shown a head that *our*
    key signed and that this one contradicts. Nothing else is raised.
    """

    @property
    def kind(self) -> AnchorKind: ...

    @property
    def name(self) -> str:
        """As in the settings; :data:`NAME`."""
        ...

    @property
    def interval_seconds(self) -> float:
        """How often a new head is given to it, at most."""
        ...

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        """Have it vouch for a head."""
        ...

    def close(self) -> None: ...


def head_folder(origin: str, size: int) -> str:
    """The folder of one head's attestations, with its final ``/``."""
    return f"{ROOT}{origin}/{size:0{_SIZE_DIGITS}d}/"


def evidence_name(kind: AnchorKind, name: str) -> str:
    """The name of the file that is the evidence of an attestation, e.g. ``tsa-digicert.tsr``."""
    return f"{kind}-{name}{ENDINGS[kind]}"


def parse_evidence_name(file: str) -> tuple[AnchorKind, str] | None:
    """Kind and name of the anchor whose evidence a file is; ``None`` for another file (a checkpoint, a request)."""
    kind, dash, rest = file.partition("-")
    if not dash or kind not in ENDINGS:
        return None
    ending = ENDINGS[kind]
    name = rest.removesuffix(ending) if ending else rest
    known = NAME.fullmatch(name) is not None and (not ending or rest.endswith(ending))
    return (kind, name) if known else None


def token_of(evidence: bytes) -> bytes:
    """What a checkpoint set carries of it: SHA-256."""
    return hashlib.sha256(evidence).digest()


def store(objects: Objects, head: AnchoredHead, anchor: Anchor, attestation: Attestation) -> bool:
    """Keep an attestation beside the anchored bytes, durably; return whether there was none of this anchor yet.

    The evidence is written between the anchored bytes and what comes with it: if we die in between, what lies there is
    evidence of an anchored head, or none at all, and nothing needs to be repaired.
    """
    folder = head_folder(head.origin, head.size)
    stem = f"{folder}{anchor.kind}-{anchor.name}"
    objects.create([NewObject(folder + CHECKPOINT, head.note)])
    if objects.head(stem + ENDINGS[anchor.kind]) is not None:
        return False
    objects.create([NewObject(stem + ENDINGS[anchor.kind], attestation.evidence)])
    objects.create([NewObject(stem + ending, data) for ending, data in attestation.further])
    return True


class StoredHead(NamedTuple):
    """What lies in the folder of one head: file names in ascending order; their bytes are read when asked for."""

    origin: str
    size: int
    files: tuple[str, ...]

    def key(self, file: str) -> str:
        """The object key of one of the files."""
        return head_folder(self.origin, self.size) + file


def stored_heads(objects: Objects, origin: str, *, since: int = 0) -> Iterator[StoredHead]:
    """The anchored heads of one anchor log, smallest first, those of at least ``since`` leaves.

    Raises:
        MalformedInput: an object whose key is not of this layout.
    """
    prefix = f"{ROOT}{origin}/"
    start_after = f"{head_folder(origin, since)}"[:-1]
    size, files = -1, list[str]()
    for info in objects.list(prefix, start_after=start_after):
        digits, slash, file = info.key.removeprefix(prefix).partition("/")
        if not slash or not file or "/" in file or len(digits) != _SIZE_DIGITS or not digits.isdigit():
            raise MalformedInput(f"got object {info.key}, expected {prefix}<size, {_SIZE_DIGITS} digits>/<file>")
        if int(digits) != size:
            if files:
                yield StoredHead(origin, size, tuple(files))
            size, files = int(digits), []
        files.append(file)
    if files:
        yield StoredHead(origin, size, tuple(files))
