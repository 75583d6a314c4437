"""A real LiteLLM proxy on loopback, in an environment of its own.

    with litellm_proxy(folder, callbacks) as url:
        httpx.post(f"{url}/v1/chat/completions", headers=AUTHORIZED, …)

Its packages are pinned in ``tests/collector/litellm-requirements.txt`` and installed once into ``.cache``. Its models
answer by ``mock_response``, so that no provider is asked for anything.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from own_venv import own_venv

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "tests" / "collector" / "litellm-requirements.txt"
MASTER_KEY = "sk-affidavit-test-0123456789"
AUTHORIZED = {"authorization": f"Bearer {MASTER_KEY}"}

START_SECONDS = 240
"""Eight seconds when warm; the first start compiles the package."""

_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
_OPENAI = {"model": "openai/gpt-4o", "api_key": "none"}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {**_OPENAI, "mock_response": "hello from the mock"},
    "tools": {**_OPENAI, "mock_response": "calling", "mock_tool_calls": [_CALL]},
    "broken": {**_OPENAI, "mock_response": "litellm.RateLimitError"},
    "claude": {"model": "anthropic/claude-sonnet-4-5", "api_key": "none", "mock_response": "bonjour"},
}

T = TypeVar("T")


def install() -> Path:
    """The environment's ``bin``."""
    return own_venv("litellm-venv", REQUIREMENTS)


@contextmanager
def litellm_proxy(folder: Path, callbacks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Run the proxy until the block ends. ``callbacks`` are LiteLLM's ``callback_settings``, by name."""
    config = folder / "litellm.json"
    config.write_text(json.dumps(_config(callbacks)))  # JSON is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it asks the network for prices
        "DEFAULT_FLUSH_INTERVAL_SECONDS": "1",
        "NO_PROXY": "*",
    }
    command = [str(install() / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (
        (folder / "litellm.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _alive(url, process, folder / "litellm.log"), START_SECONDS)
            yield url
        finally:
            process.terminate()


def eventually(look: Callable[[], T | None], seconds: float = 30) -> T:
    """What ``look`` finds, as soon as it finds something."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        pause.wait(0.1)
    raise AssertionError(f"not within {seconds} s")


def _config(callbacks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "model_list": [{"model_name": name, "litellm_params": parameters} for name, parameters in MODELS.items()],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"telemetry": False, "num_retries": 0, "callbacks": list(callbacks)},
        "callback_settings": {name: {"callback_type": "generic_api", **own} for name, own in callbacks.items()},
    }


def _alive(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"the proxy ended: {log.read_text()[-2000:]}"
    try:
        return httpx.get(f"{url}/health/liveliness", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
