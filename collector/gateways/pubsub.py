"""Google Pub/Sub's push wrapper, ``{"message": {"data": "<base64>", "messageId", …}, "subscription"}``. Pure, total.

What was published is the record; what the wrapper says of it goes to extras. So a record has the same key and the same
bytes whether it comes wrapped or not.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

from collector.gateways.leftovers import Fields
from collector.json_units import JsonUnit, split_json


class Unwrapped(NamedTuple):
    """What was in a wrapper: the records published, and what the wrapper says of them, as extras."""

    records: list[JsonUnit]
    extras: dict[str, str]


def is_wrapper(value: object) -> bool:
    """Whether a JSON value is a push of Pub/Sub."""
    if not isinstance(value, dict) or not isinstance(value.get("message"), dict):
        return False
    message = value["message"]
    return isinstance(message.get("data"), str) and any(
        name in message for name in ("messageId", "message_id", "publishTime", "publish_time")
    )


def unwrap(wrapper: dict[str, Any]) -> Unwrapped | None:
    """The records in a wrapper; ``None`` when its data is not base64, or empty."""
    message = Fields(wrapper["message"])
    data = message.take("data")
    try:
        published = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    records = split_json(published)
    if not records:
        return None
    for old, new in (("message_id", "messageId"), ("publish_time", "publishTime")):
        if message.peek(new) is not None:
            message.drop_same(old, message.peek(new))  # Pub/Sub writes both spellings
    outside = Fields({name: value for name, value in wrapper.items() if name != "message"})
    said = {**message.leftovers(), **outside.leftovers()}
    return Unwrapped(records, {f"pubsub.{name}": text for name, text in said.items()})
