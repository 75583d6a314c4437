"""Large bodies, made piece by piece, and what must come of them."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator

MIB = 1 << 20


def image_request(mib: int, seed: int = 1) -> Iterator[bytes]:
    """A LiteLLM record whose one image takes about ``mib`` MiB."""
    rnd = random.Random(seed)
    yield (
        b'{"id":"chatcmpl-%d","litellm_call_id":"call-%d","call_type":"acompletion","status":"success",'
        b'"startTime":1787305200.125,"endTime":1787305203.904,"model":"gpt-5","session_id":"s-%d",'
        b'"messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' % (seed, seed, seed)
    )
    for _ in range(mib):
        yield base64.b64encode(rnd.randbytes(MIB * 3 // 4))
    yield (
        b'"}}]}],"response":{"id":"r","choices":[{"finish_reason":"stop",'
        b'"message":{"role":"assistant","content":"A cat."}}]}}'
    )


def text_request(mib: int) -> Iterator[bytes]:
    """A native prompt whose one text takes ``mib`` MiB."""
    yield b'{"kind":"prompt","id":"long","content":{"messages":[{"role":"user","content":"'
    sentence = rb"It was a dark night; the rain \u2014 fell. \"Who is there?\" "
    block = sentence * ((MIB - 8) // len(sentence))
    for at in range(mib):
        yield block + b" %06d" % at
    yield b'"}]}}'


def ndjson(mib: int) -> Iterator[bytes]:
    """Native events of 1.4 KB, one a line."""
    rnd, count = random.Random(3), mib * MIB // 1450
    for first in range(0, count, 700):
        lines = [
            json.dumps(
                {
                    "kind": "prompt",
                    "id": f"chat-{number}",
                    "session_id": f"session-{number % 50}",
                    "user_id": f"u-{number % 20}",
                    "content": {"messages": [{"role": "user", "content": rnd.randbytes(620).hex()}]},
                }
            )
            for number in range(first, min(first + 700, count))
        ]
        yield ("\n".join(lines) + "\n").encode()
