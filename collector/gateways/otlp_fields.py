"""JSON objects of OTLP as :class:`~collector.gateways.otlp_telemetry.Telemetry`: liberal in form, nothing left out.

Every function takes its known fields out of a copy of the object; what is left goes to ``rest``. A value of a form
that the protocol does not have is left where it is, so it goes there too.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.otlp_telemetry import (
    SPAN_KINDS,
    STATUS_CODES,
    Group,
    SpanEvent,
    Telemetry,
    add_attribute,
    hex_id,
)

_MAX_INTEGER = (1 << 64) - 1
_COUNTS = ("droppedAttributesCount", "droppedEventsCount", "droppedLinksCount")


def group_of(resource_records: dict[str, Any], scope_records: dict[str, Any], request: dict[str, Any]) -> Group:
    """What the levels above the records say, from the members of their objects."""
    rest = {f"request.{name}": value for name, value in request.items()}
    outer, inner = dict(resource_records), dict(scope_records)
    resource, scope = _object(outer, "resource"), _object(inner, "scope")
    dropped = _dropped(resource) + _dropped(scope)
    name, version = _text(scope, "name"), _text(scope, "version")
    group = Group(_attributes(resource), _attributes(scope), name, version, rest, dropped, [])
    for prefix, left in (("resource.", resource), ("resource.", outer), ("scope.", scope), ("scope.", inner)):
        for key, value in left.items():
            add_attribute(rest, prefix + key, value)
    return group


def log_of(source: dict[str, Any]) -> Telemetry:
    """A log record."""
    left = _camel_keys(source)
    time, observed = _integer(left, "timeUnixNano"), _integer(left, "observedTimeUnixNano")
    moment = time or observed
    if observed and observed != moment:
        left["observedTimeUnixNano"] = observed
    severity = left.get("severityNumber")
    if severity in (0, "SEVERITY_NUMBER_UNSPECIFIED"):
        del left["severityNumber"]
    return Telemetry(
        "logs",
        _attributes(left),
        _text(left, "eventName"),
        _id(left, "traceId", 16),
        _id(left, "spanId", 8),
        "",
        moment,
        moment,
        value_of(left.pop("body", None)),
        dropped=_dropped(left),
        rest=_settled(left),
    )


def span_of(source: dict[str, Any]) -> Telemetry:
    """A span with its events and links."""
    left = _camel_keys(source)
    status = _object(left, "status")
    telemetry = Telemetry(
        "traces",
        _attributes(left),
        _text(left, "name"),
        _id(left, "traceId", 16),
        _id(left, "spanId", 8),
        _id(left, "parentSpanId", 8),
        _integer(left, "startTimeUnixNano"),
        _integer(left, "endTimeUnixNano"),
        None,
        _enum(left, "kind", "SPAN_KIND_", SPAN_KINDS),
        _enum(status, "code", "STATUS_CODE_", STATUS_CODES),
        _text(status, "message"),
        dropped=_dropped(left),
    )
    _take_events(left, telemetry)
    if isinstance(left.get("links"), list):
        links = [_link(link) for link in left.pop("links")]
        if links:
            left["links"] = links
    telemetry.rest = _settled(left)
    telemetry.rest.update({f"status.{name}": value for name, value in status.items()})
    return telemetry


def _take_events(left: dict[str, Any], telemetry: Telemetry) -> None:
    events = left.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return
    del left["events"]
    for index, source in enumerate(events):
        event = _camel_keys(source)
        telemetry.dropped += _dropped(event)
        name, time, attributes = _text(event, "name"), _integer(event, "timeUnixNano"), _attributes(event)
        telemetry.events.append(SpanEvent(name, time, attributes))
        for key, value in event.items():
            left[f"events.{index}.{key}"] = value


def _link(source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    left = _camel_keys(source)
    fields = {"traceId": _id(left, "traceId", 16), "spanId": _id(left, "spanId", 8), "attributes": _attributes(left)}
    return {name: value for name, value in {**fields, **left}.items() if value}


def value_of(value: Any) -> Any:
    """An ``AnyValue`` as a JSON value: ``bytesValue`` as its base64 text, no value as ``None``; an object that is no
    ``AnyValue`` as it is."""
    if not isinstance(value, dict) or len(value) != 1:
        return value or None
    ((name, inner),) = value.items()
    match name:
        case "stringValue" | "boolValue" | "doubleValue" | "bytesValue" | "string_value" | "bool_value":
            return inner
        case "intValue" | "int_value":
            number = integer(inner)
            return inner if number is None else number
        case "arrayValue" | "array_value":
            items = inner.get("values", []) if isinstance(inner, dict) and inner.keys() <= {"values"} else None
            return [value_of(item) for item in items] if isinstance(items, list) else value
        case "kvlistValue" | "kvlist_value":
            items = inner.get("values", []) if isinstance(inner, dict) and inner.keys() <= {"values"} else None
            return _pairs(items) if _are_pairs(items) else value
        case "double_value" | "bytes_value":
            return inner
        case _:
            return value


def integer(value: Any) -> int | None:
    """A 64-bit number from a JSON number or text; ``None`` when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isascii():
        value = int(value) if value.removeprefix("-").isdigit() else None
    return value if isinstance(value, int) and -(1 << 63) <= value <= _MAX_INTEGER else None


def _attributes(left: dict[str, Any]) -> dict[str, Any]:
    pairs = left.get("attributes")
    if not _are_pairs(pairs):
        return {}
    del left["attributes"]
    return _pairs(pairs)


def _are_pairs(pairs: Any) -> bool:
    return isinstance(pairs, list) and all(
        isinstance(pair, dict) and isinstance(pair.get("key", ""), str) for pair in pairs
    )


def _pairs(pairs: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for pair in pairs:
        key = pair.get("key", "")
        value = pair.get("value")
        text = value.get("stringValue") if type(value) is dict and len(value) == 1 else None
        if text is not None and key not in attributes:
            attributes[key] = text
        else:
            add_attribute(attributes, key, value_of(value))
        if len(pair) > 2:
            for name in pair.keys() - {"key", "value"}:
                add_attribute(attributes, f"{key}@{name}", pair[name])
    return attributes


def _camel_keys(source: dict[str, Any]) -> dict[str, Any]:
    """A copy with the protocol's JSON names; a name that is there in both forms stays in both."""
    left = dict(source)
    for key in source:
        if "_" in key:
            head, *words = key.split("_")
            name = head + "".join(word[:1].upper() + word[1:] for word in words)
            if name not in left:
                left[name] = left.pop(key)
    return left


def _object(left: dict[str, Any], name: str) -> dict[str, Any]:
    return _camel_keys(left.pop(name)) if isinstance(left.get(name), dict) else {}


def _text(left: dict[str, Any], name: str) -> str:
    return left.pop(name) if isinstance(left.get(name), str) else ""


def _integer(left: dict[str, Any], name: str) -> int:
    number = integer(left.get(name))
    if number is None or number < 0:
        return 0
    del left[name]
    return number


def _id(left: dict[str, Any], name: str, size: int) -> str:
    return hex_id(left.pop(name), size) if isinstance(left.get(name), str) else ""


def _enum(left: dict[str, Any], name: str, prefix: str, words: tuple[str, ...]) -> str:
    """A number or a name (with or without the protocol's prefix) as one of our words."""
    value = left.get(name)
    word = str(value).removeprefix(prefix).lower()
    number = integer(value)
    if number is not None and 0 <= number < len(words):
        word = words[number]
    elif word in ("unspecified", "unset"):
        word = ""
    elif word not in words or not word:
        return ""
    del left[name]
    return word


def _dropped(left: dict[str, Any]) -> int:
    total = 0
    for name in _COUNTS:
        if name in left:
            total += _integer(left, name)
    return total


def _settled(left: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing: empty values and the protocol's defaults."""
    return {name: value for name, value in left.items() if value not in (0, "", None, [], {})}
