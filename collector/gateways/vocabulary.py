"""Shared tables: what the sources call a provider, a finish reason, a model's path, in our words.

Table-driven, so that a new spelling is one line. Formats keep what the source wrote in the ``…_raw`` field beside it.
"""

from __future__ import annotations

from typing import Literal

OPENAI = "openai"
ANTHROPIC = "anthropic"
BEDROCK = "aws.bedrock"
VERTEX = "gcp.vertex_ai"
GEMINI = "gcp.gemini"
AZURE_OPENAI = "azure.ai.openai"
AZURE_INFERENCE = "azure.ai.inference"

_PROVIDERS = {
    OPENAI: ("openai", "openai_like", "custom_openai", "text_completion_openai", "text-completion-openai"),
    ANTHROPIC: ("anthropic", "anthropic_text"),
    BEDROCK: ("aws.bedrock", "bedrock", "bedrock_converse", "bedrock_mantle", "aws_bedrock", "amazon_bedrock",
              "aws.anthropic", "amazon", "aws"),
    VERTEX: ("gcp.vertex_ai", "gcp.anthropic", "vertex_ai", "vertexai", "vertex_ai_beta", "vertex", "google",
             "google_vertex"),
    GEMINI: ("gcp.gemini", "gemini", "google_ai_studio"),
    "gcp.gen_ai": ("gcp.gen_ai", "google_genai", "gen_ai"),
    AZURE_OPENAI: ("azure.ai.openai", "az.ai.openai", "azure.openai", "azure", "azure_openai", "azure_text"),
    AZURE_INFERENCE: ("azure.ai.inference", "az.ai.inference", "azure_ai", "azure_inference"),
    "cohere": ("cohere", "cohere_chat"),
    "mistral_ai": ("mistral_ai", "mistral", "mistralai", "codestral"),
    "groq": ("groq",),
    "deepseek": ("deepseek",),
    "perplexity": ("perplexity",),
    "x_ai": ("x_ai", "xai", "x.ai"),
    "ibm.watsonx.ai": ("ibm.watsonx.ai", "watsonx", "watsonx_text"),
    "moonshot_ai": ("moonshot_ai", "moonshot"),
}  # fmt: skip
"""OpenTelemetry ``gen_ai.provider.name`` → the spellings seen (collector/pages/opentelemetry.md)."""

_BY_SPELLING = {spelling: name for name, spellings in _PROVIDERS.items() for spelling in spellings}

StopReason = Literal["", "stop", "length", "tool_call", "content_filter", "error", "other"]

_STOP_REASONS: dict[StopReason, tuple[str, ...]] = {
    "stop": ("stop", "end_turn", "stop_sequence", "completed", "complete", "finish", "eos", "eos_token"),
    "length": ("length", "max_tokens", "max_output_tokens", "model_context_window_exceeded", "incomplete",
               "model_length"),
    "tool_call": ("tool_calls", "tool_use", "tool_call", "function_call"),
    "content_filter": (
        "content_filter", "content_filtered", "refusal", "safety", "guardrail_intervened", "recitation", "blocklist",
        "prohibited_content", "spii", "image_safety",
    ),
    "error": ("error", "failed", "malformed_function_call", "cancelled"),
}  # fmt: skip
"""Trap T13. Spellings are compared in lower case; what is not here is ``other``."""

_BY_FINISH: dict[str, StopReason] = {word: reason for reason, words in _STOP_REASONS.items() for word in words}


def provider_name(raw: str) -> str:
    """OpenTelemetry's name of a provider; an unknown one is kept, in lower case."""
    spelling = raw.strip().lower()
    return _BY_SPELLING.get(spelling, spelling)


def stop_reason(raw: str) -> StopReason:
    """The normalised finish reason; ``""`` when the source gave none."""
    spelling = raw.strip().lower()
    return _BY_FINISH.get(spelling, "other") if spelling else ""


def model_path(provider: str) -> str:
    """How the model was reached, as far as the normalised provider name tells: ``bedrock``, ``vertex``, ``azure``,
    ``direct``; ``""`` without a provider."""
    if provider == BEDROCK:
        return "bedrock"
    if provider == VERTEX:
        return "vertex"
    if provider in (AZURE_OPENAI, AZURE_INFERENCE):
        return "azure"
    return "direct" if provider else ""
