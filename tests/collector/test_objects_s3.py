"""Feeds over buckets of an S3 service (moto) with boto3: records, what they refer to, refusals, and other senders."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from bedrock_records import CONVERSE, INVOKE, REQUEST
from cloudflare_lines import line, private_key
from collector_server import OpenedEvent
from fake_clock import eventually
from memory_bucket import MemoryBucket
from moto_server import MotoServer, moto_server
from polling import World

from collector.gateways import Format
from collector.gateways.bedrock import BedrockFormat
from collector.gateways.cloudflare import CloudflareFormat
from collector.gateways.litellm import LiteLLMFormat
from collector.poll import Page
from collector.poll.object_layout import BEDROCK, CLOUDFLARE, LITELLM, Layout
from collector.poll.object_references import ATTACHMENT_BYTES, PATIENCE_SECONDS
from collector.poll.objects import ObjectsFeed, Source
from collector.poll.s3 import BucketConfig, S3Bucket, classify
from schemas.errors import AccessDenied, ConfigurationError, Unavailable
from stores.objects.s3_errors import Answer

ROOT = "bedrock/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/"


@pytest.fixture(scope="module")
def server() -> Iterator[MotoServer]:
    with moto_server() as running:
        yield running


@pytest.fixture
def bucket(server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket; the SDK's usual chain has credentials."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    name = f"logs-{uuid.uuid4()}"
    server.client().create_bucket(Bucket=name)
    return name


def folder(hours: float = 0.0) -> str:
    return ROOT + (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y/%m/%d/%H/")


def feed_of(
    reader: S3Bucket, layout: Layout = BEDROCK, prefix: str = "bedrock/", form: Format | None = None, old: float = 0.0
) -> ObjectsFeed:
    """``old``: seconds by which the feed believes it is later."""
    source = Source("logs", "acme", "bedrock", prefix, layout)
    return ObjectsFeed(reader, source, form or BedrockFormat(), now=lambda: datetime.now(UTC).timestamp() + old)


async def recorded(feed: ObjectsFeed, objects: int) -> list[OpenedEvent]:
    """What a poller records of a feed, once it has read so many objects."""
    world = World()
    process = world.pollers(feed)
    async with process.running() as pollers:
        await eventually(lambda: pollers.snapshot()[0].records >= objects, world.clock)
    return await world.records()


async def pages(feed: ObjectsFeed) -> list[Page]:
    found, cursor = [], ""
    while (page := await feed.page(cursor)) is not None:
        found.append(page)
        cursor = page.cursor
    return [page for page in found if page.body]


async def behind_history(feed: ObjectsFeed) -> str:
    """The cursor of a feed over a bucket without old objects, before its first object."""
    first = await feed.page("")
    assert first is not None
    second = await feed.page(first.cursor)
    assert second is not None
    return second.cursor


def offloaded(bucket: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A record whose bodies and document lie in objects of their own, and these objects."""
    data = f"{folder()}data/{REQUEST}"
    names = {"in": f"{data}_input.json.gz", "out": f"{data}_output.json.gz", "pdf": f"{data}_input_media_00.pdf"}
    record = copy.deepcopy(CONVERSE)
    asked, answered = record["input"].pop("inputBodyJson"), record["output"].pop("outputBodyJson")
    asked["messages"][2]["content"][1]["document"]["source"]["s3Uri"] = f"s3://{bucket}/{names['pdf']}"
    record["input"]["inputBodyS3Path"] = f"s3://{bucket}/{names['in']}"
    record["output"]["outputBodyS3Path"] = f"s3://{bucket}/{names['out']}"
    bodies = {
        names["in"]: gzip.compress(json.dumps(asked).encode()),
        names["out"]: gzip.compress(json.dumps(answered).encode()),
        names["pdf"]: b"%PDF-1.7 atlas",
    }
    return record, bodies


class Older(S3Bucket):
    """A bucket whose clock is some seconds ahead, so that nothing in it is too young to be read."""

    def list(self, prefix: str, behind: str) -> Any:
        return super().list(prefix, behind)._replace(now=super().list(prefix, behind).now + 5)

    def folders(self, prefix: str) -> Any:
        found = super().folders(prefix)
        return found._replace(now=found.now + 5)


async def test_records_come_from_gzip_whatever_its_name_and_with_what_they_refer_to(
    server: MotoServer, bucket: str
) -> None:
    client = server.client()
    record, bodies = offloaded(bucket)
    lines = f"{json.dumps(record)}\n{json.dumps(INVOKE)}\n".encode()
    for key, data in bodies.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    client.put_object(Bucket=bucket, Key=f"{folder()}20261126T060000123Z_9f2a.json.gz", Body=gzip.compress(lines))
    client.put_object(Bucket=bucket, Key=f"{folder(30)}plain.json", Body=json.dumps(INVOKE).encode())
    client.put_object(Bucket=bucket, Key=ROOT + "amazon-bedrock-logs-permission-check", Body=b"")
    events = await recorded(feed_of(Older(server.config(bucket))), 6)
    assert {event.metadata["receiver"] for event in events} == {"objects"}
    sources = [event.source for event in events if event.source is not None]
    assert [json.loads(source) for source in sources if source[:1] == b"{"] == [INVOKE, record, INVOKE]
    assert set(bodies.values()) <= set(sources)
    attached = [event for event in events if event.source in bodies.values()]
    assert {event.metadata["exchange_id"] for event in attached} == {REQUEST}
    for event in attached:
        assert event.metadata["document_sha256"] == hashlib.sha256(event.source or b"").hexdigest()
    prompts = [event for event in events if event.metadata["kind"] == "prompt"]
    (prompt,) = [event for event in prompts if event.metadata["api"] == "Converse"]
    (gap,) = json.loads(prompt.metadata["content_gaps"])
    assert (gap["state"], gap["original_sha256"]) == (
        "by_ref",
        hashlib.sha256(bodies[gap["ref"].split("/", 3)[3]]).hexdigest(),
    )
    once = {event.metadata["event_id"] for event in events}
    assert len(once) == len(events) - 3  # the invocation that is in two objects is one, sent again


async def test_a_body_that_is_not_there_yet_is_waited_for_and_then_is_a_gap(server: MotoServer, bucket: str) -> None:
    client = server.client()
    record, bodies = offloaded(bucket)
    client.put_object(Bucket=bucket, Key=f"{folder()}a.json", Body=json.dumps(record).encode())
    young = feed_of(Older(server.config(bucket)))
    cursor = await behind_history(young)
    with pytest.raises(Unavailable, match="not there yet"):
        await young.page(cursor)
    for key, data in bodies.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    page = await young.page(cursor)
    assert page is not None
    assert len(page.attachments) == 3
    for key in bodies:
        client.delete_object(Bucket=bucket, Key=key)
    (page,) = await pages(feed_of(Older(server.config(bucket)), old=PATIENCE_SECONDS + 60))
    assert [attachment.problem for attachment in page.attachments.values()] == ["there is no such object"] * 2
    events = await recorded(feed_of(Older(server.config(bucket)), old=PATIENCE_SECONDS + 60), 1)
    prompt = next(event for event in events if event.metadata["kind"] == "prompt")
    (gap,) = json.loads(prompt.metadata["content_gaps"])
    assert (gap["state"], gap["note"]) == ("not_captured", "there is no such object")


async def test_other_buckets_are_not_read_with_our_rights(server: MotoServer, bucket: str) -> None:
    record, _ = offloaded("payroll")
    client = server.client()
    client.create_bucket(Bucket="payroll")
    client.put_object(Bucket="payroll", Key=f"x/{REQUEST}_input.json.gz", Body=b"{}")
    record["input"]["inputBodyS3Path"] = f"s3://payroll/x/{REQUEST}_input.json.gz"
    client.put_object(Bucket=bucket, Key=f"{folder()}a.json", Body=json.dumps(record).encode())
    (page,) = await pages(feed_of(Older(server.config(bucket))))
    assert all("not among those" in attachment.problem for attachment in page.attachments.values())


async def test_what_litellm_and_cloudflare_write_comes_the_same_way(server: MotoServer, bucket: str) -> None:
    client = server.client()
    call = {
        "id": "chatcmpl-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "status": "success",
        "startTime": 1787305200.125,
        "model": "anthropic/claude-sonnet-5",
        "messages": [{"role": "user", "content": "hello"}],
        "response": {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}]},
    }
    day = datetime.now(UTC)
    client.put_object(
        Bucket=bucket, Key=day.strftime("litellm/team-a/%Y-%m-%d/time-09-00_1.json"), Body=json.dumps(call).encode()
    )
    batch = "\n".join(json.dumps(call | {"id": f"chatcmpl-{at}"}) for at in (2, 3)).encode()
    client.put_object(Bucket=bucket, Key=day.strftime("litellm/%Y-%m-%d/batch.jsonl"), Body=batch)
    pushed = gzip.compress(json.dumps(line(private_key())).encode() + b"\n")
    client.put_object(Bucket=bucket, Key=day.strftime("cf/%Y%m%d/20261126T060000Z_x.log.gz"), Body=pushed)
    called = await recorded(feed_of(Older(server.config(bucket)), LITELLM, "litellm/", LiteLLMFormat()), 3)
    assert [event.metadata["kind"] for event in called] == ["prompt", "response"] * 3
    assert {event.metadata["format"] for event in called} == {"litellm"}
    logged = await recorded(feed_of(Older(server.config(bucket)), CLOUDFLARE, "cf/", CloudflareFormat()), 1)
    assert {event.metadata["content_state"] for event in logged if event.metadata["kind"] == "prompt"} == {"encrypted"}


@pytest.mark.slow
async def test_listings_go_on_behind_a_thousand_objects(server: MotoServer, bucket: str) -> None:
    client = server.client()
    for number in range(1005):
        client.put_object(Bucket=bucket, Key=f"{folder(40)}{number:04}.json", Body=b"{}")
    reader = Older(server.config(bucket))
    first = reader.list(ROOT, "")
    assert (len(first.objects), first.more) == (1000, True)
    assert len(await pages(feed_of(reader))) == 1005
    assert reader.folders("bedrock/AWSLogs/").names == ["bedrock/AWSLogs/111122223333/"]


async def test_an_object_that_is_gone_or_changed_is_a_key_error(server: MotoServer, bucket: str) -> None:
    client, reader = server.client(), S3Bucket(server.config(bucket))
    client.put_object(Bucket=bucket, Key="a", Body=b"one")
    (listed,) = reader.list("a", "").objects
    assert b"".join(reader.open("a", listed.etag)) == b"one"
    client.put_object(Bucket=bucket, Key="a", Body=b"two")
    with pytest.raises(KeyError, match="a"):
        reader.open("a", listed.etag)
    with pytest.raises(KeyError, match="nothing"):
        reader.open("nothing", listed.etag)
    with pytest.raises(KeyError, match="nothing"):
        reader.fetch(bucket, "nothing", 10)
    reader.close()


async def test_a_reference_that_is_too_large_is_not_fetched(server: MotoServer, bucket: str) -> None:
    record, bodies = offloaded(bucket)
    memory = MemoryBucket(bucket)
    for key in bodies:
        memory.put(key, b"x" * (ATTACHMENT_BYTES + 1) if key.endswith("_input.json.gz") else b"{}")
    memory.put(f"{folder()}a.json", json.dumps(record).encode())
    memory.now += 400 * 24 * 3600
    feed = ObjectsFeed(
        memory, Source("logs", "acme", "b", "bedrock/", BEDROCK), BedrockFormat(), now=lambda: memory.now
    )
    (page,) = await pages(feed)
    problems = [attachment.problem for attachment in page.attachments.values()]
    assert ("expected at most" in problems[0], problems[1:]) == (True, [""])


async def test_a_role_is_taken_on_with_the_credentials_of_the_chain(server: MotoServer, bucket: str) -> None:
    server.client().put_object(Bucket=bucket, Key=f"{folder()}a.json", Body=b"{}")
    role = "arn:aws:iam::123456789012:role/affidavit"
    reader = Older(server.config(bucket, role_arn=role, external_id="x-1"))
    assert len(await pages(feed_of(reader))) == 1
    assert reader._client._request_signer._credentials.access_key != "test"


async def test_a_bucket_that_is_not_there_says_so(server: MotoServer, bucket: str) -> None:
    with pytest.raises(ConfigurationError, match=r"NoSuchBucket.*check the feed's bucket"):
        await feed_of(S3Bucket(server.config(f"{bucket}-not"))).page("")
    nobody = S3Bucket(BucketConfig(bucket, endpoint="http://127.0.0.1:9", connect_seconds=0.5))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        await feed_of(nobody).page("")


def test_credentials_that_are_missing_are_named(
    server: MotoServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(ConfigurationError, match="the feed's"):
        S3Bucket(server.config(bucket)).list("", "")


@pytest.mark.parametrize(
    ("answer", "permission", "kind", "says"),
    [
        (Answer("AccessDenied", 403, "no"), "s3:ListBucket", AccessDenied, "allow s3:ListBucket on the bucket for"),
        (Answer("AccessDenied", 403, "no"), "s3:GetObject", AccessDenied, "allow s3:GetObject on its objects for"),
        (Answer("AccessDenied", 403, "no kms key"), "s3:GetObject", AccessDenied, "and kms:Decrypt"),
        (Answer("SlowDown", 503, "later", 7.0), "s3:GetObject", Unavailable, "SlowDown"),
        (Answer("ExpiredToken", 400, "old"), "s3:GetObject", Unavailable, "ExpiredToken"),
        (Answer("PermanentRedirect", 301, "there"), "s3:ListBucket", ConfigurationError, "check the feed's bucket"),
    ],
)
def test_answers_are_classified(answer: Answer, permission: str, kind: type[Exception], says: str) -> None:
    error = classify(answer, "s3://logs/a", permission)
    assert isinstance(error, kind)
    assert says in str(error)
    assert not isinstance(error, Unavailable) or error.retry_after == (answer.retry_after or 1.0)
