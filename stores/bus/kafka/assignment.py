"""Which member of a group works on which shards: balanced, and moving as few as it can (pure).

Cooperative (KIP-429): nobody is asked to give up everything. A shard that is to move is first assigned to nobody; who
has it gives it up and joins again, and then it goes to its new owner. So what stays is never interrupted, and no shard
has two owners on account of a rebalance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Member:
    """What a member said when it joined: the topics it wants, what it owns, and since which generation."""

    topics: frozenset[str]
    owned: frozenset[TopicPartition]
    generation: int


def assign(members: Mapping[str, Member], partitions: Mapping[str, int]) -> dict[str, set[TopicPartition]]:
    """Shares of all partitions of the topics that anybody wants, balanced over all topics together.

    A partition in nobody's share is on its way: its owner is to give it up and join again.
    """
    holders = _holders(members)
    wanted = sorted({topic for member in members.values() for topic in member.topics})
    everything = [(topic, number) for topic in wanted for number in range(partitions.get(topic, 0))]
    aims = _aims(members, everything, holders)
    return {
        name: {one for one, aim in aims.items() if aim == name and holders.get(one, name) == name} for name in members
    }


def _holders(members: Mapping[str, Member]) -> dict[TopicPartition, str]:
    """Who owns what. Of two who say so the younger generation is right: the other was thought dead."""
    holders: dict[TopicPartition, str] = {}
    for name in sorted(members, key=lambda name: (members[name].generation, name)):
        holders.update(dict.fromkeys(members[name].owned, name))
    return holders


def _aims(
    members: Mapping[str, Member], everything: Sequence[TopicPartition], holders: Mapping[TopicPartition, str]
) -> dict[TopicPartition, str]:
    """Who is to own what in the end: first what stays, then the rest to whoever has least, then evened out."""
    aims: dict[TopicPartition, str] = {}
    counts = dict.fromkeys(sorted(members), 0)
    for one in everything:
        holder = holders.get(one)
        if holder is not None and one[0] in members[holder].topics:
            aims[one] = holder
            counts[holder] += 1
    for one in everything:
        takers = [name for name in counts if one[0] in members[name].topics]
        if one not in aims and takers:
            aims[one] = min(takers, key=lambda name: counts[name])
            counts[aims[one]] += 1
    while (move := _move(members, aims, counts)) is not None:
        one, taker = move
        counts[aims[one]] -= 1
        counts[taker] += 1
        aims[one] = taker
    return aims


def _move(
    members: Mapping[str, Member], aims: Mapping[TopicPartition, str], counts: Mapping[str, int]
) -> tuple[TopicPartition, str] | None:
    """One partition that should go from who has two more than another to that one."""
    for taker in sorted(counts, key=lambda name: counts[name]):
        for giver in sorted(counts, key=lambda name: -counts[name]):
            if counts[giver] < counts[taker] + 2:
                break
            for one in sorted(aims, reverse=True):
                if aims[one] == giver and one[0] in members[taker].topics:
                    return one, taker
    return None
