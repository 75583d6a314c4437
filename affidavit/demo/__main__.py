"""``python -m affidavit.demo``: the main job, end to end, in a temporary directory; ends with its result."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from affidavit.demo.deployment import Unexpected
from affidavit.demo.script import Demonstration


def main() -> int:
    """Run the demonstration; 0 when everything is as it should be, 1 when not."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="affidavit-demo-"))
    try:
        Demonstration(folder).run()
    except Unexpected as error:
        print(f"\nNOT AS IT SHOULD BE: {error}", file=sys.stderr)
        print(f"what there is lies in {folder}", file=sys.stderr)
        return 1
    print(f"\nEverything was as it should be ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
