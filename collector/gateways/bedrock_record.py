"""One Bedrock invocation record as events, and what it refers to as units of their own. Pure.

The bodies of requests and responses are the content, as the model's API has them; a body that Bedrock put into an
object of its own is read from there, and its exact bytes become the source of a ``context`` event behind the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.gateways import Attachment, Draft
from collector.gateways.bedrock_bodies import LoggedBody, opened, take_body
from collector.gateways.bedrock_converse import converse_calls, converse_documents, converse_results
from collector.gateways.bedrock_fields import take_actor, take_ids, take_model, take_outcome, take_usage
from collector.gateways.bedrock_guardrails import guardrail_drafts
from collector.gateways.documents import Document, new_documents
from collector.gateways.exchange import call_draft, document_draft, result_draft
from collector.gateways.gaps import Gap, state_gaps
from collector.gateways.leftovers import Fields
from collector.gateways.messages import body_calls, body_results, new_results
from schemas.metadata import Metadata

_BODIES = ("inputBodyS3Path", "outputBodyS3Path")


@dataclass(slots=True)
class Invocation:
    """The events of a record, and for each thing that it refers to and that was fetched: where it lies, its bytes, and
    its one event."""

    drafts: list[Draft] = field(default_factory=list)
    attached: list[tuple[str, bytes, Draft]] = field(default_factory=list)


def is_record(value: object) -> bool:
    """Whether a value is an invocation record: by what it holds, for the schema's name is not always there."""
    if not isinstance(value, dict):
        return False
    return value.get("schemaType") == "ModelInvocationLog" or ("modelId" in value and "operation" in value)


def read_record(record: dict[str, Any], attachments: Mapping[str, Attachment], extras: Mapping[str, str]) -> Invocation:
    """The events of an invocation. ``extras`` are kept on its first one: what its envelope said."""
    fields, shared = Fields(record), Metadata()
    own = {ref: attachments[ref] for ref in record_references(record, attachments) if ref in attachments}
    asked, answered = fields.part("input"), fields.part("output")
    streamed = fields.peek("operation") == "InvokeModelWithResponseStream"
    request = take_body(asked, "input", own, streamed=False)
    response = take_body(answered, "output", own, streamed=streamed)
    take_ids(fields, shared)
    take_actor(fields, shared, request.fields)
    take_model(fields, shared, request.fields, response.fields)
    found = Invocation([_body_draft("prompt", request, shared)])
    found.drafts += [result_draft(result, shared) for result in _results(request)]
    for document in _documents(request):
        _add_document(document, shared, own, found)
    found.drafts += guardrail_drafts(request.value, response.value, shared, response.at)
    if response.value is not None or response.gaps or "errorCode" in fields or "outputTokenCount" in answered:
        draft = _body_draft("response", response, shared)
        take_usage(asked, answered, draft.metadata, response)
        take_outcome(fields, draft.metadata, response)
        found.drafts.append(draft)
    found.drafts += [call_draft(call, shared) for call in _calls(response)]
    found.drafts += [result_draft(result, shared) for result in body_results(response.value, response.at)]
    _add_bodies((request, response), shared, own, found)
    _add_media(shared, own, found)
    first = found.drafts[0].metadata
    first["extras"] = {**fields.leftovers(), **extras}
    return found


def record_references(record: dict[str, Any], fetched: Mapping[str, Attachment]) -> list[str]:
    """What a record refers to: bodies first, then media of either. Only objects that bear the record's request id: what
    else looks like a reference was written by the caller, and would be read with our rights."""
    request_id = record.get("requestId")
    found: dict[str, None] = {}
    places: list[Any] = []
    for side in ("input", "output"):
        holder = record.get(side)
        if not isinstance(holder, dict):
            continue
        places.append(holder.get(f"{side}BodyJson"))
        ref = holder.get(f"{side}BodyS3Path")
        if isinstance(ref, str) and ref:
            found[ref] = None
            if ref in fetched and fetched[ref].data:
                places.append(opened(fetched[ref])[0])
    for place in places:
        found |= dict.fromkeys(_media(place))
    if not isinstance(request_id, str) or not request_id:
        return []
    return [ref for ref in found if ref.rsplit("/", 1)[-1].startswith(request_id)]


def _media(body: Any) -> Iterator[str]:
    """Every ``source.s3Uri`` of a Converse body."""
    work = [body] if isinstance(body, dict) and ("messages" in body or "output" in body) else []
    while work:
        item = work.pop()
        if isinstance(item, dict):
            source = item.get("source")
            if isinstance(source, dict) and isinstance(source.get("s3Uri"), str):
                yield source["s3Uri"]
            work += reversed(item.values())
        elif isinstance(item, list):
            work += reversed(item)


def _body_draft(kind: Any, body: LoggedBody, shared: Metadata) -> Draft:
    metadata: Metadata = {**shared}
    state_gaps(metadata, body.gaps)
    return Draft(kind, metadata, body.value, body.at if body.value is not None and not body.ref else "")


def _results(request: LoggedBody) -> list[Any]:
    return [
        *converse_results(request.value, request.at),
        *new_results(request.fields.get("messages"), f"{request.at}/messages"),
    ]


def _calls(response: LoggedBody) -> list[Any]:
    return [*converse_calls(response.value, response.at), *body_calls(response.value, response.at)]


def _documents(request: LoggedBody) -> list[Document]:
    return [*converse_documents(request.value, request.at), *new_documents(request.fields, request.at)]


def _add_document(document: Document, shared: Metadata, own: Mapping[str, Attachment], found: Invocation) -> None:
    """A document whose bytes were fetched is an event of the unit that holds them; any other is one of the record."""
    attachment = own.get(document.source)
    if attachment is not None and not attachment.problem:
        draft = document_draft(document, shared)
        draft.metadata["document_sha256"] = hashlib.sha256(attachment.data).hexdigest()
        found.attached.append((document.source, attachment.data, draft))
        return
    if document.source.startswith("s3://") and not document.gaps:
        why = attachment.problem if attachment is not None else "nobody fetched it"
        document.gaps.append(Gap("/content/document", "not_captured", ref=document.source, note=why))
    found.drafts.append(document_draft(document, shared))


def _add_bodies(
    bodies: tuple[LoggedBody, LoggedBody], shared: Metadata, own: Mapping[str, Attachment], found: Invocation
) -> None:
    for body, label in zip(bodies, ("request body", "response body"), strict=True):
        attachment = own.get(body.ref)
        if attachment is not None and not attachment.problem:
            found.attached.append((body.ref, attachment.data, _attached_draft(body.ref, attachment, label, shared)))


def _add_media(shared: Metadata, own: Mapping[str, Attachment], found: Invocation) -> None:
    """What else was fetched: media of an earlier turn, or of the answer."""
    known = {ref for ref, _, _ in found.attached}
    for ref, attachment in own.items():
        if ref not in known and not attachment.problem:
            found.attached.append((ref, attachment.data, _attached_draft(ref, attachment, "", shared)))


def _attached_draft(ref: str, attachment: Attachment, label: str, shared: Metadata) -> Draft:
    metadata: Metadata = {
        **shared,
        "document_source": ref,
        "document_label": label or ref.rsplit("/", 1)[-1],
        "document_sha256": hashlib.sha256(attachment.data).hexdigest(),
    }
    state_gaps(metadata, ())
    return Draft("context", metadata)
