"""Clients of Splunk's HTTP Event Collector that others wrote, each in its way: three events, to a URL. Runs in an
environment of its own: ``python splunk_clients.py NAME HOST PORT TOKEN``; prints what the client thinks of it."""

import asyncio
import logging
import sys


def hec_handler(host: str, port: int, token: str) -> str:
    from splunk_hec_handler import SplunkHecHandler

    handler = SplunkHecHandler(host, token, port=port, proto="http", source="theirs", sourcetype="_json")
    log = logging.getLogger("theirs")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    for at in range(3):
        log.info({"number": at, "time": 1_764_000_000 + at, "fields": {"color": "yellow"}})
    return "sent"


def hass(host: str, port: int, token: str) -> str:
    import aiohttp
    from hass_splunk import SplunkPayloadError, hass_splunk

    async def send() -> str:
        async with aiohttp.ClientSession() as session:
            client = hass_splunk(session, token, host, port, use_ssl=False)
            healthy = await client.check()
            for at in range(3):
                await client.queue({"event": {"number": at}, "time": 1_764_000_000 + at}, send=False)
            try:
                await client.send()
            except SplunkPayloadError as error:
                return f"refused {error.status} {error.code} {error.message}"
            return f"sent, healthy {healthy}"

    return asyncio.run(send())


def logging_forwarder(host: str, port: int, token: str) -> str:
    """Waits for the acknowledgement of the indexers."""
    from splunk_logging.forwarders import HecForwarder

    with HecForwarder(
        host, port, token, use_ssl=False, indexer_ack=True, ack_poll_interval=0.05, ack_timeout=10
    ) as one:
        one.forward_events([{"number": at} for at in range(3)])
    return "acknowledged"


CLIENTS = {"hec_handler": hec_handler, "hass": hass, "logging_forwarder": logging_forwarder}

if __name__ == "__main__":
    name, where, number, secret = sys.argv[1:]
    print(CLIENTS[name](where, int(number), secret))
