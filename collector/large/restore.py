"""From what a format made of a light body back to the body: exact sources, and references in the derived view.

A unit's source becomes the bytes that were received. In content, extras and everywhere else a marker becomes words
that say what stood there, with its SHA-256, and ``content_gaps`` names the place, what it was, and where in the source
part it is. Pure, but for reads of the body.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from collector.gateways import Draft, Reading, Unit
from collector.gateways.gaps import Gap, note_gaps, pointer, state_gaps
from collector.gateways.media import MEDIA_TYPE_NAMES
from collector.large.lighten import AtHand, Cut, Light
from collector.large.pieces import LongRun, Pieces

_DATA_URL = re.compile(r"data:([A-Za-z0-9.+-]{1,64}/[A-Za-z0-9.+-]{1,64})(?:;[A-Za-z0-9=._-]{1,64})*;base64,\Z")
MAX_STATED = 1000
"""Places that the content gaps of one event name. Of more, the last entry says how many."""


def restore(reading: Reading, light: Light) -> Reading:
    """The reading of the body, from the reading of its light body. Of a body at hand, sources are bytes; of one on
    disk, a source with something cut out is in pieces (:attr:`~collector.gateways.Unit.whole`)."""
    if not light.cuts:
        return reading
    units = [Restoring(light).unit(unit) for unit in reading.units]
    return replace(reading, units=units, error=_words(reading.error, light))


class Restoring:
    """One unit.

    Args:
        places: where in its source what was cut out begins, as far as that is known already.
    """

    def __init__(self, light: Light, places: Mapping[bytes, int] | None = None) -> None:
        self._light = light
        self._pattern = re.compile(re.escape(light.prefix) + rb"[0-9a-f]{8}e")
        self._places = dict(places or {})
        """Where in the unit's source the first cut of each marker begins."""
        self._met: list[Cut] = []
        """What was cut out of the content at hand."""

    def unit(self, unit: Unit) -> Unit:
        """The unit with its exact source."""
        source, source_id, whole = unit.source, unit.source_id, unit.whole
        if self._light.prefix in source:
            pieces = self._pieces(source)
            source_id = source_id.replace(hashlib.sha256(source).hexdigest(), pieces.sha256())
            if isinstance(self._light.body, AtHand):
                source = pieces.whole()
            else:
                whole = pieces
        source_id = _words(source_id, self._light)
        drafts = [self.draft(draft) for draft in unit.drafts]
        return Unit(source, source_id, drafts, _words(unit.error, self._light), unit.pointer, whole)

    def unit_of(self, unit: Unit, whole: Pieces) -> Unit:
        """The unit whose exact source is known already, and so is where in it what was cut out begins."""
        source_id = unit.source_id.replace(hashlib.sha256(unit.source).hexdigest(), whole.sha256())
        drafts = [self.draft(draft) for draft in unit.drafts]
        error = _words(unit.error, self._light)
        return Unit(b"", _words(source_id, self._light), drafts, error, unit.pointer, whole)

    def draft(self, draft: Draft) -> Draft:
        """The draft with words in place of markers."""
        metadata = draft.metadata
        text = self._light.prefix.decode()
        noted: list[Gap] = []
        for name, value in list(metadata.items()):
            if _mentions(value, text):
                metadata[name] = self._value(value, (name,), noted, "")  # type: ignore[literal-required]
        if noted:
            note_gaps(metadata, _bounded(noted))
        if _mentions(draft.content, text):
            stated: list[Gap] = []
            self._met.clear()
            draft.content = self._value(draft.content, ("content",), stated, "")
            state_gaps(metadata, _bounded(stated))
            if draft.kind == "context" and not metadata.get("document_sha256") and len(self._met) == 1:
                metadata["document_sha256"] = self._met[0].decoded_sha256
        return draft

    def _pieces(self, source: bytes) -> Pieces:
        parts: list[bytes | tuple[int, int]] = []
        runs: list[LongRun] = []
        at = size = 0
        for found in self._pattern.finditer(source):
            cut = self._light.by_marker[found.group()]
            if found.start() > at:
                parts.append(source[at : found.start()])
                size += found.start() - at
            self._places.setdefault(cut.marker, size)
            parts.append((cut.start, cut.stop))
            runs.append(LongRun(size, size + cut.size, cut.sha256))
            size += cut.size
            at = found.end()
        parts.append(source[at:])
        return Pieces(self._light.body, parts, runs)

    def _value(self, value: Any, at: tuple[str | int, ...], gaps: list[Gap], media_type: str) -> Any:
        if isinstance(value, str):
            return self._text(value, at, gaps, media_type)
        if isinstance(value, dict):
            own = _media_type(value)
            return {
                _words(key, self._light): self._value(item, (*at, key), gaps, own or media_type)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._value(item, (*at, index), gaps, media_type) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, at: tuple[str | int, ...], gaps: list[Gap], media_type: str) -> str:
        prefix = self._light.prefix.decode()
        if prefix not in text:
            return text
        pieces: list[str] = []
        before = 0
        for found in re.finditer(re.escape(prefix) + "[0-9a-f]{8}e", text):
            cut = self._light.by_marker.get(found.group().encode())
            if cut is None:
                continue
            self._met.append(cut)
            pieces += [text[before : found.start()], _in_words(cut)]
            before = found.end()
            url = _DATA_URL.search(text[max(0, found.start() - 256) : found.start()])
            gaps.append(self._gap(cut, pointer(*at), url.group(1) if url else media_type))
        return "".join([*pieces, text[before:]])

    def _gap(self, cut: Cut, place: str, media_type: str) -> Gap:
        at = self._places.get(cut.marker)
        words = [media_type] if media_type else []
        words += ["base64"] if cut.is_base64 else ["text"]
        if cut.decoded_sha256:
            words.append(f"of {cut.decoded_size} bytes with SHA-256 {cut.decoded_sha256}")
        return Gap(
            place,
            "by_ref",
            original_size=cut.size,
            original_sha256=cut.sha256,
            ref="source" if at is None else f"source:{at}+{cut.size}",
            note=" ".join(words),
        )


def _mentions(value: Any, text: str) -> bool:
    """Whether ``text`` is somewhere in a JSON value."""
    work = [value]
    while work:
        item = work.pop()
        if isinstance(item, str):
            if text in item:
                return True
        elif isinstance(item, Mapping):
            work.extend(item)
            work.extend(item.values())
        elif isinstance(item, list | tuple):
            work.extend(item)
    return False


def _words(text: str, light: Light) -> str:
    """Text with words in place of markers, where no gap can be stated."""
    prefix = light.prefix.decode()
    if prefix not in text:
        return text

    def words(found: re.Match[str]) -> str:
        cut = light.by_marker.get(found.group().encode())
        return found.group() if cut is None else _in_words(cut)

    return re.sub(re.escape(prefix) + "[0-9a-f]{8}e", words, text)


def _in_words(cut: Cut) -> str:
    """What stands in place of a cut: without characters that JSON inside of a text would have to escape."""
    return f"[{cut.size} bytes of {'base64' if cut.is_base64 else 'text'} with SHA-256 {cut.sha256}: see the source]"


def _bounded(gaps: list[Gap]) -> list[Gap]:
    if len(gaps) <= MAX_STATED:
        return gaps
    more = Gap("/content", "by_ref", note=f"and {len(gaps) - MAX_STATED + 1} more places, each as it says there")
    return [*gaps[: MAX_STATED - 1], more]


def _media_type(value: Mapping[Any, Any]) -> str:
    for name in MEDIA_TYPE_NAMES:
        kind = value.get(name)
        if isinstance(kind, str) and 0 < len(kind) <= 128:
            return kind
    return ""
