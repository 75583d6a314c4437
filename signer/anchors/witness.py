"""Witnesses over HTTP (C2SP tlog-witness): each cosigns what is consistent with all that it has seen before."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from schemas.errors import LedgerContradiction, MalformedInput, Refused, Unavailable, VerificationError
from signer.anchors import AnchoredHead, AnchorKind, Attestation, ConsistencyProof
from signer.anchors.web import Answer, call
from signer.checkpoint import Checkpoint, parse_checkpoint
from signer.cosignature import verify_cosignature
from signer.note import Note, VerifierKey, format_signature, parse_note, parse_signature, verify_note
from signer.policy import Witness
from signer.witnessing import (
    ADD_CHECKPOINT,
    MAX_BODY_BYTES,
    SIZE_TYPE,
    Submission,
    format_submission,
    monitoring_path,
    parse_size,
)

INTERVAL_SECONDS = 10.0
TRIES = 3
"""Another process of ours may submit at the same time: as often the size that the witness names is taken up."""


class WitnessAnchor:
    """A witness that cosigns heads of the anchor log. An :class:`~signer.anchors.Anchor`.

    Args:
        witness: its name, key and URL (the submission prefix, which is taken as the monitoring prefix too).
        keys: our own keys, per origin; a head that the witness shows and that they did not sign proves nothing.
        client: as the caller set it up.
        interval_seconds: how often it is asked.
    """

    kind: AnchorKind = "witness"

    def __init__(
        self,
        witness: Witness,
        public_keys: Sequence[bytes],
        client: httpx.Client,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._witness, self._public_keys, self._client = witness, tuple(public_keys), client
        self.name, self.interval_seconds = witness.name, interval_seconds
        self._seen: dict[str, int] = {}

    def attest(self, head: AnchoredHead, proof: ConsistencyProof) -> Attestation:
        """See :class:`~signer.anchors.Anchor`."""
        note = parse_note(head.note)
        old = min(self._seen.get(head.origin, 0), head.size)
        for _ in range(TRIES):
            submission = Submission(old, tuple(proof(old)) if 0 < old < head.size else (), note)
            answer = self._post(submission)
            if answer.status != httpx.codes.CONFLICT:
                break
            old = self._size(answer)
            if old > head.size:
                raise self._ahead(head, old)
        else:
            raise Unavailable(f"witness {self.name} named another size {TRIES} times in a row")
        if answer.status == httpx.codes.UNPROCESSABLE_ENTITY:
            raise self._split(head, answer)
        if answer.status != httpx.codes.OK:
            kind = Unavailable if answer.is_passing else Refused
            raise kind(f"witness {self.name} answered with HTTP status {answer.status}: {answer.words()}")
        line, seconds = self._cosignature(note, answer)
        self._seen[head.origin] = head.size
        return Attestation(line, (), seconds * 1000)

    def close(self) -> None:
        self._client.close()

    def _post(self, submission: Submission) -> Answer:
        url = f"{self._witness.url.rstrip('/')}/{ADD_CHECKPOINT}"
        body = format_submission(submission)
        return call(self._client, "POST", url, body, {"Content-Type": "text/plain"}, limit=MAX_BODY_BYTES)

    def _size(self, answer: Answer) -> int:
        try:
            if answer.type != SIZE_TYPE:
                raise MalformedInput(f"got media type {answer.type!r}, expected {SIZE_TYPE}")
            return parse_size(answer.body.decode("ascii", "replace").removesuffix("\n"))
        except MalformedInput as error:
            raise Refused(f"witness {self.name} answered 409 without a size: {error}") from None

    def _cosignature(self, note: Note, answer: Answer) -> tuple[bytes, int]:
        """The line of the key that is pinned, and its time; lines of other keys are left out."""
        key = self._witness.key
        try:
            lines = answer.body.decode("utf-8").splitlines(keepends=True)
            found = [parse_signature(line) for line in lines]
            mine = tuple(one for one in found if (one.name, one.key_id) == (key.name, key.key_id))
            seconds = verify_cosignature(Note(note.text, mine), key)
        except (UnicodeDecodeError, MalformedInput, VerificationError) as error:
            raise Refused(f"witness {self.name} answered with something else than its cosignature: {error}") from None
        return format_signature(mine[0]).encode(), seconds

    def _ahead(self, head: AnchoredHead, size: int) -> LedgerContradiction | Refused:
        """The witness says that it has seen more. If it can show it, this ledger is a restored or forked one."""
        shown = self._shown(head.origin)
        if shown is not None and shown.size > head.size:
            return LedgerContradiction(
                f"H8 {head.origin}: witness {self.name} shows a checkpoint of size {shown.size} with root "
                f"{shown.root.hex()} under our own signature, and the log has size {head.size}: it was set back; "
                "restore control database and object store from the newest copy, never sign over it"
            )
        return Refused(
            f"witness {self.name} says that it has seen {head.origin} at size {size}, beyond {head.size}, and does not "
            "show it: ask whoever runs it"
        )

    def _split(self, head: AnchoredHead, answer: Answer) -> LedgerContradiction | Refused:
        """The witness finds no consistency. Of one size with another root it can show the proof."""
        shown = self._shown(head.origin)
        ours = parse_checkpoint(parse_note(head.note).text)
        if shown is not None and shown.size == head.size and shown.root != ours.root:
            return LedgerContradiction(
                f"H8 {head.origin}: witness {self.name} shows another root of size {shown.size}, {shown.root.hex()}, "
                f"under our own signature, and the log has {ours.root.hex()}: the log was forked; find the process "
                "that signs with this key, and decide which history is true"
            )
        return Refused(f"witness {self.name} finds the log inconsistent with what it saw: {answer.words()}")

    def _shown(self, origin: str) -> Checkpoint | None:
        """The latest checkpoint that the witness shows, when one of our keys signed it."""
        url = f"{self._witness.url.rstrip('/')}/{monitoring_path(origin)}"
        try:
            answer = call(self._client, "GET", url, b"", {}, limit=MAX_BODY_BYTES)
            note = parse_note(answer.body)
            verify_note(note, [VerifierKey(origin, one) for one in self._public_keys])
            shown = parse_checkpoint(note.text)
        except (Unavailable, Refused, MalformedInput, VerificationError):
            return None
        return shown if shown.origin == origin else None
