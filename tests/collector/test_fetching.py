"""Fetching what a record refers to: nothing but public addresses, and a reason for whatever does not come."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from https_objects import https_objects

from collector.fetching import FetchLimits, HttpsFetcher

LOOPBACK = ip_network("127.0.0.0/8")


async def problem(reference: str, *addresses: str, allowed: str = "") -> str:
    """What the fetcher says; names resolve to ``addresses``."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    limits = FetchLimits(allowed=(ip_network(allowed),) if allowed else (), seconds=2)
    fetcher = HttpsFetcher(limits, resolve=resolve)
    (attachment,) = (await fetcher.fetch([reference])).values()
    await fetcher.close()
    assert attachment.data == b""
    return attachment.problem


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"),
        *("255.255.255.255", "192.0.2.1", "198.18.0.1", "224.0.0.1", "2001:db8::1"),
    ],
)
async def test_addresses_that_are_not_public_are_not_asked(address: str) -> None:
    assert "not public" in await problem("https://bucket.example/x", address)
    assert "not public" in await problem("https://bucket.example/x", "93.184.216.34", address), "one is enough"


@pytest.mark.parametrize(
    "reference",
    [
        *("http://93.184.216.34/x", "ftp://93.184.216.34/x", "file:///etc/passwd", "https:///x", "https://"),
        *("https://user:pw@93.184.216.34/x", "//93.184.216.34/x", "", "x", "https://\x00/"),
    ],
)
async def test_nothing_but_https(reference: str) -> None:
    assert await problem(reference, "93.184.216.34")


async def test_literal_addresses_are_looked_at_as_well() -> None:
    """The resolver of the system gives a literal back, in whatever spelling."""
    fetcher = HttpsFetcher(FetchLimits(seconds=2))
    for host in ("127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]", "localhost"):
        (attachment,) = (await fetcher.fetch([f"https://{host}:1/"])).values()
        assert attachment.problem
        assert "refused" not in attachment.problem.lower()
    await fetcher.close()


async def test_a_name_without_an_address() -> None:
    assert "without an address" in await problem("https://bucket.example/x")


async def test_the_exact_bytes_under_the_name_that_was_asked_for(tmp_path: Path) -> None:
    with https_objects(tmp_path) as objects:
        objects.bodies["/a"] = (200, {"content-encoding": "gzip"}, b"\x1f\x8bnot inflated")
        fetcher = HttpsFetcher(FetchLimits(allowed=(LOOPBACK,)), context=objects.context())
        found = await fetcher.fetch([f"{objects.url}/a?b=c%2Fd"] * 2)
        await fetcher.close()
    assert [attachment.data for attachment in found.values()] == [b"\x1f\x8bnot inflated"]
    assert objects.asked == ["/a?b=c%2Fd"], "each once, and the query as it was"
    assert objects.hosts == [objects.url.removeprefix("https://")]


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """The connection goes to the address that was looked at; the certificate must be for the name all the same."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with https_objects(tmp_path) as objects:
        context = objects.context()
        fetcher = HttpsFetcher(FetchLimits(allowed=(LOOPBACK,)), context=context, resolve=resolve)
        port = objects.url.rpartition(":")[2]
        (attachment,) = (await fetcher.fetch([f"https://bucket.example:{port}/a"])).values()
        await fetcher.close()
    assert attachment.problem == "cannot be had: ConnectError"
    assert objects.asked == []


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with https_objects(tmp_path) as objects:
        objects.bodies["/a"] = (302, {"location": f"{objects.url}/b"}, b"")
        fetcher = HttpsFetcher(FetchLimits(allowed=(LOOPBACK,)), context=objects.context())
        (attachment,) = (await fetcher.fetch([f"{objects.url}/a"])).values()
        await fetcher.close()
    assert attachment.problem == "got status 302, expected 200"
    assert objects.asked == ["/a"]


async def test_bodies_are_bounded(tmp_path: Path) -> None:
    with https_objects(tmp_path) as objects:
        objects.bodies["/a"] = (200, {}, bytes(1 << 20))
        fetcher = HttpsFetcher(FetchLimits(max_bytes=100_000, allowed=(LOOPBACK,)), context=objects.context())
        (attachment,) = (await fetcher.fetch([f"{objects.url}/a"])).values()
        await fetcher.close()
    assert attachment.problem == "got more than 100000 bytes, expected at most that"


async def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with https_objects(tmp_path) as objects:
        objects.bodies["/a"] = (200, {"content-length": "10"}, b"short")
        fetcher = HttpsFetcher(FetchLimits(seconds=0.3, allowed=(LOOPBACK,)), context=objects.context())
        (attachment,) = (await fetcher.fetch([f"{objects.url}/a"])).values()
        await fetcher.close()
    assert attachment.problem
    assert objects.url not in attachment.problem
