"""Images, PDFs, recordings that a request puts before the model: ``context`` events for formats that make none. Pure.

Formats that read the providers' bodies with :mod:`collector.gateways.exchange` tell the documents themselves. The
others have the same bodies in the content of their prompts, and this finds them there.
"""

from __future__ import annotations

from typing import cast

from collector.gateways import Draft
from collector.gateways.bedrock_converse import converse_documents
from collector.gateways.documents import Document, new_documents
from collector.gateways.exchange import document_draft
from schemas.metadata import Metadata

MEDIA_TYPE_NAMES = ("media_type", "mime_type", "mimeType", "contentType", "format")
"""Fields beside base64 that say what it is, in the order of trust."""

_NOT_SHARED = frozenset({"extras", "content_gaps", "content_state", "usage_raw", "cost_raw", "usage_semantics"})
"""What a prompt's metadata says of its own content."""


def with_documents(drafts: list[Draft]) -> list[Draft]:
    """The drafts with one ``context`` draft behind each prompt for every document that is new in it and that none of
    them tells yet. Most prompts are text, and cost a look."""
    if not any(draft.kind == "prompt" and _has_blocks(draft.content) for draft in drafts):
        return drafts
    told = [draft.content for draft in drafts if draft.kind == "context"]
    found: list[Draft] = []
    for draft in drafts:
        found.append(draft)
        if draft.kind == "prompt":
            new = [document for document in _documents(draft.content) if {"document": document.block} not in told]
            found += [_draft(document, draft) for document in new]
    return found


def _has_blocks(content: object) -> bool:
    """Whether a message is made of blocks, or is one."""
    if not isinstance(content, dict):
        return False
    for name in ("messages", "input"):
        messages = content.get(name)
        if isinstance(messages, list):
            for message in messages:
                if isinstance(message, dict) and ("type" in message or isinstance(message.get("content"), list)):
                    return True
    return False


def _documents(content: object) -> list[Document]:
    if not isinstance(content, dict):
        return []
    return [*new_documents(content, ""), *converse_documents(content, "")]


def _draft(document: Document, prompt: Draft) -> Draft:
    shared = {name: value for name, value in prompt.metadata.items() if name not in _NOT_SHARED}
    draft = document_draft(document, cast(Metadata, shared))
    draft.pointer = prompt.pointer
    return draft
