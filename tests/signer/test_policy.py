"""The policy file: what it says, what it refuses, and that other readers of tlog-policy can take it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import MalformedInput
from signer.note import COSIGNATURE_V1, VerifierKey, format_vkey
from signer.policy import Authority, Group, Policy, RekorLog, Revoked, Witness, format_policy, parse_policy, policy_of
from signer.trust import Trust

LOG = format_vkey(VerifierKey("audit.example.com", bytes(32)))


def witness_key(number: int, name: str = "w.example") -> VerifierKey:
    return VerifierKey(name, bytes([number]) * 32, COSIGNATURE_V1)


def lines(*more: str) -> bytes:
    witnesses = [f"witness w{number} {format_vkey(witness_key(number))}" for number in (1, 2, 3)]
    return "\n".join([f"log {LOG}", *witnesses, *more, ""]).encode()


def test_a_policy_is_read() -> None:
    data = lines(
        "# two of three",
        "group pair all w1 w2",
        "group either any pair w3",
        "quorum either",
        "#: authority clock AQID BAUG",
        "#: max-age 120",
    )
    policy = parse_policy(data)
    assert policy.trust == Trust("audit.example.com", (bytes(32),))
    assert policy.groups == (Group("pair", 2, ("w1", "w2")), Group("either", 1, ("pair", "w3")))
    assert policy.authorities == (Authority("clock", (b"\x01\x02\x03", b"\x04\x05\x06")),)
    assert (policy.authorities_needed, policy.max_age_seconds) == (1, 120)
    assert policy.digest == hashlib.sha256(data).digest()
    assert policy.demands() == "quorum either and 1 of the authorities clock"


@pytest.mark.parametrize(
    ("names", "met"),
    [((), False), (("w1",), False), (("w1", "w2"), True), (("w3",), True), (("stranger",), False)],
)
def test_a_quorum_is_met_by_groups_of_groups(names: tuple[str, ...], met: bool) -> None:
    policy = parse_policy(lines("group pair all w1 w2", "group either any pair w3", "quorum either"))
    assert policy.cosigned(names) is met


def test_no_quorum_is_met_by_nobody() -> None:
    policy = parse_policy(lines("quorum none"))
    assert policy.cosigned(())
    assert not policy.asks_for_anchors
    assert policy_of(policy.trust).cosigned(())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["quorum w9"], "line 5: got 'w9', which no line above names"),
        (["group g any h", "group h any w1", "quorum g"], "line 5: got 'h', which no line above names"),
        (["group g any w1", "group h any w1", "quorum g"], "line 6: got 'w1' as a member twice"),
        (["group w1 any w2", "quorum none"], "line 5: got name 'w1', which is taken"),
        (["group none any w2", "quorum none"], "line 5: got name 'none', which is taken"),
        (["group g 4 w1 w2 w3", "quorum g"], "got 4 of 3 members"),
        (["group g 0 w1", "quorum g"], "got 0 of 1 members"),
        (["group g most w1", "quorum g"], "got 'most', expected a decimal number"),
        (["group g any", "quorum g"], "expected log, witness, group or quorum"),
        (["quorum w1", "quorum w1"], "line 6: got a second quorum line"),
        ([], "got a policy without a quorum line"),
        (["quorum none", "wittness w4"], "line 6: got 'wittness w4', expected log, witness"),
        (["quorum none", "#: authoritys 2"], "line 6: got #: 'authoritys 2', expected authority"),
        (["quorum none", "#: authorities 1"], "got authorities 1, and the policy lists 0"),
        (["quorum none", "#: authority a !!"], "line 6: "),
        (["quorum none", f"witness w4 {LOG}"], "expected one of type 0x04"),
        (["quorum none", f"witness w4 {format_vkey(witness_key(1, 'other'))}"], "two cosigners must not share one"),
        (["quorum none", f"#: rekor r {format_vkey(witness_key(1))}"], "expected one of type 0x01"),
        (
            ["quorum none", f"log {format_vkey(VerifierKey('other.example', bytes(32)))}"],
            "keys of audit.example.com, o",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(more: list[str], words: str) -> None:
    with pytest.raises(MalformedInput, match=words.replace("(", r"\(")):
        parse_policy(lines(*more))


def test_other_bytes_are_no_policy() -> None:
    with pytest.raises(MalformedInput, match="not UTF-8 at byte 0"):
        parse_policy(b"\xff")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    witnesses = tuple(
        Witness(f"w{number}", witness_key(number), draw(st.sampled_from(["", "https://w.example/"])))
        for number in range(draw(st.integers(0, 4)))
    )
    free = [one.name for one in witnesses]
    groups: list[Group] = []
    while len(free) > 1 and draw(st.booleans()):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        groups.append(Group(f"g{len(groups)}", draw(st.integers(1, len(members))), tuple(members)))
        free = [one for one in free if one not in members] + [groups[-1].name]
    authorities = tuple(
        Authority(f"a{number}", tuple(draw(st.lists(st.binary(min_size=1), min_size=1, max_size=3))))
        for number in range(draw(st.integers(0, 2)))
    )
    quorum = draw(st.sampled_from(["", *(one.name for one in witnesses), *(one.name for one in groups)]))
    needed = draw(st.integers(0, len(authorities)))
    rekor = (RekorLog("r", VerifierKey("rekor.example", bytes(32))),) if draw(st.booleans()) else ()
    age = draw(st.none() | st.integers(0, 10**6))
    trust = Trust("audit.example.com", (bytes(32), bytes([1]) * 32))
    revoked = (Revoked(bytes(32), draw(st.integers(0, 2**41))),) if draw(st.booleans()) else ()
    return Policy(trust, witnesses, tuple(groups), quorum, authorities, needed, rekor, age, revoked)


@given(policies())
def test_what_is_written_is_read_back(policy: Policy) -> None:
    data = format_policy(policy)
    assert parse_policy(data) == policy
    assert format_policy(parse_policy(data)) == data
    for line in data.decode().splitlines():  # as a reader of tlog-policy sees it, which knows nothing of our lines
        assert line.startswith("#") or line.split()[0] in ("log", "witness", "group", "quorum")
