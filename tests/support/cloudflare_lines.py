"""Lines of Cloudflare's Logpush, encrypted as its documentation says: RSA-OAEP with SHA-256 around AES-256-GCM."""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def private_key(name: str = "first") -> rsa.RSAPrivateKey:
    """One key per name, made once."""
    return _key(name)


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def sealed(text: str, key: rsa.RSAPrivateKey) -> dict[str, str]:
    """A field as Cloudflare encrypts it."""
    secret, iv = AESGCM.generate_key(256), os.urandom(12)
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    parts = {
        "key": key.public_key().encrypt(secret, oaep),
        "iv": iv,
        "data": AESGCM(secret).encrypt(iv, text.encode(), None),
    }
    return {"type": "encrypted", **{name: base64.b64encode(part).decode() for name, part in parts.items()}}


ASKED: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "Weather in Paris?"}]}
ANSWERED: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "gpt-5-2026",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Sunny."}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
LABELS = {"user_id": "dana", "team": "payments"}

PLAIN: dict[str, Any] = {
    "Gateway": "prod",
    "Provider": "openai",
    "Model": "gpt-5",
    "Endpoint": "chat/completions",
    "StatusCode": 200,
    "Cached": False,
    "Datetime": "2026-08-21T09:00:00Z",
    "ANewField": {"of": "theirs"},
}


def line(key: rsa.RSAPrivateKey | None = None, **fields: Any) -> dict[str, Any]:
    """A line of the AI Gateway dataset; its bodies are encrypted for ``key``, or in the clear."""
    bodies = {"Metadata": LABELS, "RequestBody": ASKED, "ResponseBody": ANSWERED}
    texts = {name: json.dumps(body) for name, body in bodies.items()}
    return PLAIN | {name: sealed(text, key) if key else text for name, text in texts.items()} | fields
