"""``python -m fake_splunk``: listens, prints every event it takes, one JSON a line."""

from __future__ import annotations

import argparse
import contextlib
import json
import time

from fake_splunk.hec import FakeSplunk, Token
from fake_splunk.server import served


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(prog="fake_splunk", description=__doc__)
    parser.add_argument("--port", type=int, default=8088)
    parser.add_argument("--token", default="00000000-0000-0000-0000-000000000001")
    parser.add_argument("--no-ack", action="store_true", help="a token without indexer acknowledgement")
    parser.add_argument("--commit-seconds", type=float, default=1.0, help="from taking events to acknowledging them")
    parser.add_argument("--search-token", default="search", help="for the management endpoints, on the same port")
    given = parser.parse_args()
    splunk = FakeSplunk(
        {given.token: Token(ack=not given.no_ack)}, commit_seconds=given.commit_seconds, search_token=given.search_token
    )
    with served(splunk, port=given.port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"# HEC and search at {server.url}, token {given.token}", flush=True)
        seen = 0
        while True:
            for stored in splunk.events[seen:]:
                print(json.dumps({"index": stored.index, **stored.envelope}), flush=True)
                seen += 1
            time.sleep(0.1)


if __name__ == "__main__":
    main()
