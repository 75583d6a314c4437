"""Against Tessera's POSIX driver, side by side in one run: appending, integrating, and the delay to a checkpoint.

Both keep a tlog-tiles log in files on the same disk and sign checkpoints of it. Tessera takes each entry alone, with
4,096 under way, as its documents advise; our bus takes 256 at a time, as the collector hands them over, and the signer
follows it. Both are durable when they say so.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure
from bench.signer import TRICKLE, Place, plain_message

PEER = Path(__file__).parent / "peers" / "tessera"
COUNT = 100_000
AT_ONCE = 256


def measure() -> Sequence[Figure]:
    """Ours, Tessera's, ours again: the better of ours, and the ratio."""
    go = shutil.which("go")
    if go is None:
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([go, "build", "-o", str(folder / "peer"), "."], cwd=PEER, check=True)
        places = [folder / f"ours-{number}" for number in range(2)]
        for place in places:
            place.mkdir()
        ours = [asyncio.run(_ours(place)) for place in places]
        command = [folder / "peer", folder / "log", str(COUNT), str(TRICKLE)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    appended, integrated = min(one[0] for one in ours), min(one[1] for one in ours)
    waits = min((one[2] for one in ours), key=lambda found: found[-1])
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    return [
        Figure(
            "Affidavit: appended",
            COUNT / appended,
            "entries/s",
            note=f"durable, {AT_ONCE} at a time, while it is signed",
        ),
        Figure("Affidavit: integrated", COUNT / integrated, "entries/s", note="in a published checkpoint"),
        Figure("Affidavit: to a checkpoint, p50", p50 * 1000, "ms", note="10 entries every 20 ms"),
        Figure("Affidavit: to a checkpoint, p99", p99 * 1000, "ms"),
        Figure(
            "Tessera POSIX: appended", COUNT / told["sequenced_seconds"], "entries/s", note="durable, 4,096 under way"
        ),
        Figure(
            "Tessera POSIX: integrated",
            COUNT / told["integrated_seconds"],
            "entries/s",
            note="in a published checkpoint",
        ),
        Figure(
            "Tessera POSIX: to a checkpoint, p50",
            told["p50_seconds"] * 1000,
            "ms",
            note="checkpoint interval 100 ms, its least",
        ),
        Figure("Tessera POSIX: to a checkpoint, p99", told["p99_seconds"] * 1000, "ms"),
        Figure("integrated, Affidavit to Tessera", told["integrated_seconds"] / integrated, "times"),
        Figure("delay p99, Tessera to Affidavit", told["p99_seconds"] / p99, "times"),
    ]


async def _ours(folder: Path) -> tuple[float, float, list[float]]:
    """Seconds to append all, to have all in a published checkpoint, and the delays of the trickle."""
    place = Place(folder)
    try:
        began = time.perf_counter()
        signing = asyncio.create_task(place.sign(COUNT))
        for start in range(0, COUNT, AT_ONCE):
            await place.bus.append([plain_message(bytes(32), at) for at in range(start, min(start + AT_ONCE, COUNT))])
        appended = time.perf_counter() - began
        await signing
        integrated = time.perf_counter() - began
        return appended, integrated, await _trickle(place)
    finally:
        await place.close()


async def _trickle(place: Place) -> list[float]:
    place.signed.clear()
    task = asyncio.create_task(place.sign(COUNT + 10 * TRICKLE))
    begun: list[tuple[int, float]] = []
    for number in range(TRICKLE):
        at = time.perf_counter()
        positions = await place.bus.append([plain_message(bytes(32), COUNT + 10 * number + one) for one in range(10)])
        begun.append((positions[-1].offset, at))
        await asyncio.sleep(0.02)
    await task
    return sorted(next(when for signed, when in place.signed if signed.size - 1 > offset) - at for offset, at in begun)
