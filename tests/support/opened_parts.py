"""A part in the clear, wherever its bytes lie."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.chunks import Held, nothing_held
from schemas.part_streams import open_shared, open_stream
from schemas.parts import SHARED, Opener, SealedPart
from stores.objects import Objects


def opened(
    part: SealedPart, commitment: bytes, event_id: bytes, key: bytes, objects: Objects, held: Held = nothing_held
) -> Iterator[bytes]:
    """Its bytes, compared with the commitment at the end."""
    if part.codec == SHARED:
        assert part.ciphertext
        yield from open_shared(Opener(), part, commitment, event_id, key, objects.open, held)
    elif part.address:
        assert part.ciphertext == b""
        yield from open_stream(part, commitment, event_id, key, objects.open(part.address))
    else:
        yield Opener().open(part, commitment, event_id, key, held).data
