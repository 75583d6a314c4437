"""One bundle for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from bundles import Bundled, write
from outside_world import outside
from signed_ledger import SHARD

from signer.policy import format_policy


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundled]:
    folder = tmp_path_factory.mktemp("bundle")
    with outside(folder) as made:
        asyncio.run(made.live(sets=4, records=300))
        asyncio.run(made.live(sets=4, records=5))
        path = folder / "b.zip"
        summary = write(made, path, [(SHARD, offset) for offset in (0, 7, 255, 256, 299)])
        policy = folder / "policy"
        policy.write_bytes(format_policy(made.policy))
        yield Bundled(made, path, policy, summary)
