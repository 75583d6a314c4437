"""JSON inside of text: arguments and messages that a source wrote as a string."""

from __future__ import annotations

from typing import Any

from collector.json_units import parse_json


def parsed(value: Any) -> Any:
    """What a text says if it is a JSON object or array; anything else as it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    unit = parse_json(value.encode("utf-8", "surrogatepass"))
    return value if unit.error else unit.value


def argument_content(arguments: Any) -> dict[str, Any]:
    """Arguments as the content of a call; where the source had text, the exact text is kept beside its value."""
    if isinstance(arguments, str):
        value = parsed(arguments)
        return {"arguments": value, "arguments_text": arguments} if value is not arguments else {"arguments": arguments}
    return {"arguments": arguments}
