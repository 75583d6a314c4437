"""Makes the Splunk app: Dashboard Studio's views from :mod:`panels`, and a package to install.

python deploy/splunk/build.py views                 # writes app/default/data/ui
python deploy/splunk/build.py package OUT.tar.gz    # the same bytes each time
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from panels import DASHBOARDS, Dashboard, Input, Panel

APP = Path(__file__).parent / "app"
NAME = "affidavit"
VIEWS = "default/data/ui/views"
WIDTH, GAP = 1440, 16
COLUMNS = 12


def definition(board: Dashboard) -> dict[str, Any]:
    """Dashboard Studio's JSON of one dashboard."""
    sources = {f"ds_{at}": _source(panel) for at, panel in enumerate(board.panels)}
    shown = {f"viz_{at}": _visualization(panel, f"ds_{at}") for at, panel in enumerate(board.panels)}
    return {
        "title": board.title,
        "description": board.description,
        "visualizations": shown,
        "dataSources": sources,
        "defaults": {
            "dataSources": {
                "ds.search": {
                    "options": {"queryParameters": {"earliest": "$time.earliest$", "latest": "$time.latest$"}}
                }
            }
        },
        "inputs": {
            "input_time": {
                "type": "input.timerange",
                "title": "Time",
                "options": {"token": "time", "defaultValue": "-24h@h,now"},
            },
            **{f"input_{one.token}": _input(one) for one in board.inputs},
        },
        "layout": {
            "type": "grid",
            "options": {"width": WIDTH},
            "structure": _structure(board.panels),
            "globalInputs": ["input_time", *(f"input_{one.token}" for one in board.inputs)],
        },
    }


def view(board: Dashboard) -> str:
    """The file of one dashboard."""
    made = json.dumps(definition(board), indent=2, ensure_ascii=False)
    return (
        '<dashboard version="2" theme="light">\n'
        f"  <label>{escape(board.title)}</label>\n"
        f"  <description>{escape(board.description)}</description>\n"
        f"  <definition><![CDATA[\n{made}\n  ]]></definition>\n"
        "</dashboard>\n"
    )


def navigation() -> str:
    """The app's bar."""
    first, *rest = [f'  <view name="{board.name}"' for board in DASHBOARDS]
    lines = [f'{first} default="true" />', *(f"{line} />" for line in rest), '  <view name="search" />']
    lines += [
        '  <collection label="Detections">',
        '    <saved source="unclassified" match="Affidavit" />',
        "  </collection>",
    ]
    return '<nav search_view="search" color="#1f4e79">\n' + "\n".join(lines) + "\n</nav>\n"


def files() -> dict[str, str]:
    """Path in the app and text of all that is generated."""
    made = {f"{VIEWS}/{board.name}.xml": view(board) for board in DASHBOARDS}
    return made | {"default/data/ui/nav/default.xml": navigation()}


def package() -> bytes:
    """The app as a ``.tar.gz`` that Splunk installs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(APP.rglob("*")):
            member = tarfile.TarInfo(f"{NAME}/{path.relative_to(APP).as_posix()}")
            member.mode = 0o755 if path.is_dir() else 0o644
            if path.is_dir():
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                data = path.read_bytes()
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), 9, mtime=0)


def _source(panel: Panel) -> dict[str, Any]:
    return {"type": "ds.search", "name": panel.title, "options": {"query": panel.query}}


def _visualization(panel: Panel, source: str) -> dict[str, Any]:
    return {
        "type": f"splunk.{panel.kind}",
        "title": panel.title,
        "dataSources": {"primary": source},
        "options": dict(panel.options),
    }


def _input(one: Input) -> dict[str, Any]:
    return {"type": "input.text", "title": one.title, "options": {"token": one.token, "defaultValue": "*"}}


def _structure(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Panels from left to right, in rows as high as their highest."""
    placed: list[dict[str, Any]] = []
    column = top = height = 0
    for at, panel in enumerate(panels):
        if column + panel.width > COLUMNS:
            column, top, height = 0, top + height, 0
        left, right = column * WIDTH // COLUMNS, (column + panel.width) * WIDTH // COLUMNS
        position = {"x": left, "y": top, "w": right - left, "h": panel.height}
        placed.append({"item": f"viz_{at}", "type": "block", "position": position})
        column, height = column + panel.width, max(height, panel.height)
    return placed


def main() -> None:
    """See the module."""
    match sys.argv[1:]:
        case ["views"]:
            for name, text in files().items():
                path = APP / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        case ["package", out]:
            Path(out).write_bytes(package())
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
