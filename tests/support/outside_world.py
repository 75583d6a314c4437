"""A signed ledger with anchors from outside: a real time-stamping authority, a witness, a store with locked copies.

async with outside(tmp_path) as made:
    await made.live(sets=5)            # sets and attestations
    report = made.verify()             # by a policy that demands authority and witness
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fake_clock import eventually
from memory_objects import MemoryObjects
from signed_ledger import DEPLOYMENT, World
from tsa_server import TimeStampServer
from witness_server import RunningWitness, witness_server

from signer.anchorer import Anchorer
from signer.anchors import Anchor
from signer.anchors.object_lock import ObjectLockAnchor, locked_copies
from signer.anchors.runner import AnchorRunner
from signer.anchors.tsa import TimeStampAnchor
from signer.anchors.witness import WitnessAnchor
from signer.note import VerifierKey
from signer.origin import ANCHOR_SHARD
from signer.policy import Policy, format_policy, parse_policy
from signer.report import Report
from signer.tokens import read_authority


@dataclass
class Outside:
    """``world`` runs on the machine's clock, for the authority does."""

    world: World
    tsa: TimeStampServer
    witness: RunningWitness
    vault: MemoryObjects
    anchors: list[Anchor]

    @property
    def anchor_origin(self) -> str:
        """The anchor log."""
        return self.world.origin(ANCHOR_SHARD)

    @property
    def policy(self) -> Policy:
        """Demands the authority and the witness, within ten minutes."""
        chosen = Policy(
            self.world.trust,
            (self.witness.policy,),
            (),
            self.witness.policy.name,
            (read_authority("clock", self.tsa.chain),),
            1,
            (),
            600,
        )
        return parse_policy(format_policy(chosen))

    async def live(self, sets: int = 3, records: int = 3, anchors: list[Anchor] | None = None) -> None:
        """Sign some more, and take checkpoint sets until every anchor has attested the last of some."""
        chosen = self.anchors if anchors is None else anchors
        self.world.now = time.time_ns() // 1_000_000
        await self.world.append(records)
        await self.world.sign()
        runner = AnchorRunner(self.world.objects, chosen, clock=self.world.clock)
        control, objects, key = self.world.control, self.world.objects, self.world.key
        anchorer = Anchorer(control, objects, key, DEPLOYMENT, clock=self.clock, interval=0.02, outside=runner)
        stop = asyncio.Event()
        task = asyncio.ensure_future(anchorer.run(stop))
        try:
            await eventually(
                lambda: (
                    task.done()
                    or (anchorer.snapshot().sets >= sets and all(one.attestations >= 2 for one in runner.snapshot()))
                )
            )
        finally:
            stop.set()
            await task

    def clock(self) -> int:
        self.world.now = time.time_ns() // 1_000_000
        return self.world.now

    def verify(self, policy: Policy | None = None, *, copies: bool = True, **scope: Any) -> Report:
        """Verify by the policy, locked copies at hand."""
        chosen = policy or self.policy
        stores = {"s3://far/away": lambda origin: locked_copies(self.vault, origin)} if copies else {}
        return self.world.verify_as(chosen.trust, policy=chosen, copies=stores, **scope)


@contextmanager
def outside(folder: Path, world: World | None = None) -> Iterator[Outside]:
    """Make one; its servers run until the block ends."""
    made = world or World()
    with ExitStack() as stack:
        tsa = stack.enter_context(TimeStampServer(folder / "tsa"))
        log = VerifierKey(DEPLOYMENT, made.key.public_key)
        witness = stack.enter_context(witness_server(folder / "witness", [log]))
        vault, keys = MemoryObjects(), [made.key.public_key]
        clients = [stack.enter_context(httpx.Client(timeout=10, trust_env=False)) for _ in range(2)]
        anchors: list[Anchor] = [
            TimeStampAnchor(read_authority("clock", tsa.chain), tsa.url, clients[0], 0.05),
            WitnessAnchor(witness.policy, keys, clients[1], 0.05),
            ObjectLockAnchor("far", vault, "s3://far/away", keys, interval_seconds=0.05),
        ]
        yield Outside(made, tsa, witness, vault, anchors)
