"""The real Claude Code, from npm, with a home of its own: one prompt, headless, against an API on loopback."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

VERSION = "2.1.331"
CHUNKING_VERSION = "2.1.205"
"""Of the versions that sent their telemetry in chunks, without a Content-Length."""

CACHE = Path(__file__).resolve().parents[2] / ".cache"
PROMPT = "Print the marker with echo"


def claude_code(version: str = VERSION) -> Path:
    """The native binary, installed once; skips, with its reason, where there is no npm."""
    folder = CACHE / f"claude-code-{version}"
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    binary = folder / f"node_modules/@anthropic-ai/claude-code-{platform.system().lower()}-{machine}/claude"
    if not binary.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("THE REAL CLAUDE CODE WAS NOT TESTED: there is no npm to install it with")
        folder.mkdir(parents=True, exist_ok=True)
        package = f"@anthropic-ai/claude-code@{version}"
        options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run([npm, "install", *options, package], check=True, capture_output=True, timeout=240)
    return binary


def run_claude_code(
    api: str, collector: str, token: str, protocol: str, home: Path, *, version: str = VERSION, **extra: str
) -> str:
    """Run one prompt to its end; returns what it printed (JSON). Telemetry goes to ``collector``."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": api,
        "ANTHROPIC_API_KEY": "sk-ant-placeholder-0123456789",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "CLAUDE_CODE_ENHANCED_TELEMETRY_BETA": "1",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {token}",
        "OTEL_RESOURCE_ATTRIBUTES": "enduser.id=dana@example.com",
        "OTEL_LOG_USER_PROMPTS": "1",
        "OTEL_LOG_ASSISTANT_RESPONSES": "1",
        "OTEL_LOG_TOOL_DETAILS": "1",
        "OTEL_LOG_TOOL_CONTENT": "1",
        "OTEL_LOG_RAW_API_BODIES": "1",
        "CLAUDE_CODE_OTEL_CONTENT_MAX_LENGTH": "1000000",
        **extra,
    }
    arguments = ["-p", PROMPT, "--allowedTools", "Bash(echo:*)", "--output-format", "json"]
    finished = subprocess.run(
        [claude_code(version), *arguments],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
