"""Content without its long strings, where a format read its body whole: the same words as after a light reading."""

from __future__ import annotations

from collector.gateways import Draft
from collector.json_units import encode_content, parse_json
from collector.large.lighten import BOUNDS, AtHand, Bounds, lighten
from collector.large.restore import Restoring
from schemas.metadata import Metadata


def leave_out(content: bytes, metadata: Metadata, source: bytes, bounds: Bounds = BOUNDS) -> bytes:
    """The content with words in place of its long strings, which ``metadata`` then states.

    Args:
        content: JSON, as :func:`~collector.json_units.encode_content` writes it.
        source: in which the strings are looked for, so that their place can be told.
    """
    if len(content) < bounds.run:
        return content
    light = lighten(AtHand(content), bounds)
    if not light.cuts:
        return content
    value = parse_json(light.read(0, light.size))
    if value.error:
        return content  # nested beyond what is parsed: it stays as it is
    places = {cut.marker: source.find(content[cut.start : cut.stop]) for cut in light.cuts}
    restoring = Restoring(light, {marker: place for marker, place in places.items() if place >= 0})
    return encode_content(restoring.draft(Draft("prompt", metadata, value.value)).content)
