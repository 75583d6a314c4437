"""What a provider's body says of tokens, outcome and names: OpenAI chat and Responses, Anthropic Messages, Gemini.

Input is counted as *uncached + cache read + cache write*; what the provider counted so is said in ``usage_semantics``
(``total`` or ``uncached``), and its own numbers are kept in ``usage_raw``.
"""

from __future__ import annotations

from typing import Any

from collector.gateways.bodies import body_text
from collector.gateways.leftovers import Fields
from schemas.metadata import Metadata

_MAX_LONG = (1 << 63) - 1


def body_usage(body: dict[str, Any]) -> Metadata:
    """Token counts of a response; empty where it states none."""
    stated = body.get("usage", body.get("usageMetadata"))
    if not isinstance(stated, dict) or not stated:
        return {}
    counted: Metadata = {"usage_raw": body_text(stated)}
    if "usageMetadata" in body and "usage" not in body:
        _count_gemini(stated, counted)
    elif "prompt_tokens" in stated or "input_tokens_details" in stated or body.get("object") == "response":
        count_openai(stated, counted)
    elif "input_tokens" in stated:
        _count_anthropic(stated, counted)
    return counted


def count_openai(stated: dict[str, Any], counted: Metadata) -> None:
    """OpenAI's words, which most gateways use: the input includes what was cached."""
    top = Fields(stated)
    asked, answered = _details(top, "prompt", "input"), _details(top, "completion", "output")
    counted["input_tokens"] = _first(top, "prompt_tokens", "input_tokens", "prompt_token")
    counted["output_tokens"] = _first(top, "completion_tokens", "output_tokens", "completion_token")
    counted["total_tokens"] = top.take_count("total_tokens")
    counted["cache_read_tokens"] = _first(asked, "cached_tokens")
    counted["cache_write_tokens"] = _first(asked, "cache_write_tokens", "cache_creation_tokens")
    counted["audio_input_tokens"] = _first(asked, "audio_tokens", "audio_tokens_count")
    counted["image_input_tokens"] = asked.take_count("image_tokens")
    counted["reasoning_tokens"] = answered.take_count("reasoning_tokens")
    counted["audio_output_tokens"] = answered.take_count("audio_tokens")
    total = counted["input_tokens"]
    if total is None:
        return
    uncached = total - (counted["cache_read_tokens"] or 0) - (counted["cache_write_tokens"] or 0)
    counted["usage_semantics"] = "total" if uncached >= 0 else "unknown"
    if uncached >= 0:
        counted["input_uncached_tokens"] = uncached


def _count_anthropic(stated: dict[str, Any], counted: Metadata) -> None:
    top = Fields(stated)
    uncached, read = top.take_count("input_tokens"), top.take_count("cache_read_input_tokens")
    write = top.take_count("cache_creation_input_tokens")
    by_age = top.part("cache_creation")
    counted["input_uncached_tokens"], counted["cache_read_tokens"], counted["cache_write_tokens"] = (
        uncached,
        read,
        write,
    )
    counted["cache_write_5m_tokens"] = by_age.take_count("ephemeral_5m_input_tokens")
    counted["cache_write_1h_tokens"] = by_age.take_count("ephemeral_1h_input_tokens")
    counted["output_tokens"] = top.take_count("output_tokens")
    counted["reasoning_tokens"] = top.part("output_tokens_details").take_count("thinking_tokens")
    if uncached is not None:
        counted["usage_semantics"] = "uncached"
        counted["input_tokens"] = min(uncached + (read or 0) + (write or 0), _MAX_LONG)


def _count_gemini(stated: dict[str, Any], counted: Metadata) -> None:
    """``thoughts`` are outside of ``candidates``; the prompt includes what was cached."""
    top = Fields(stated)
    counted["input_tokens"] = top.take_count("promptTokenCount")
    counted["cache_read_tokens"] = top.take_count("cachedContentTokenCount")
    counted["total_tokens"] = top.take_count("totalTokenCount")
    thoughts, candidates = top.take_count("thoughtsTokenCount"), top.take_count("candidatesTokenCount")
    counted["reasoning_tokens"] = thoughts
    if candidates is not None:
        counted["output_tokens"] = min(candidates + (thoughts or 0), _MAX_LONG)
    if counted["input_tokens"] is not None:
        counted["usage_semantics"] = "total"


def body_error(body: dict[str, Any]) -> Metadata:
    """What went wrong, of ``{"error": {…}}`` and ``{"error": "…"}``; empty where nothing did."""
    error = body.get("error")
    if isinstance(error, str) and error:
        return {"error_message": error}
    if not isinstance(error, dict) or not error:
        return {}
    fields = Fields(error)
    return {
        "error_type": fields.take_text("type", "status"),
        "error_code": fields.take_text("code"),
        "error_message": fields.take_text("message"),
    }


def status_outcome(status: int | None, failed: bool) -> str:
    """``ok`` or ``error``; ``""`` where the source said nothing."""
    if failed or (status is not None and status >= 400):
        return "error"
    return "ok" if status is not None and status >= 100 else ""


def _details(top: Fields, *names: str) -> Fields:
    for name in names:
        if isinstance(top.peek(f"{name}_tokens_details"), dict):
            return top.part(f"{name}_tokens_details")
    return Fields(None)


def _first(fields: Fields, *names: str) -> int | None:
    for name in names:
        found = fields.take_count(name)
        if found is not None:
            return found
    return None
