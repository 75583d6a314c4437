"""``schemas``: the Avro schemas of what is on the bus and in the archive, for programs that are not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from affidavit.cli import options, output

schemas = typer.Typer(help="The Avro schemas, for programs that read the bus or the archive.", no_args_is_help=True)


@schemas.command("list")
def show_all(as_json: options.Json = False) -> None:
    """List the schemas: name, fingerprint as in bus header s, SHA-256 of the file.

    Example:

    \b
      affidavit schemas list
    """
    found = _published()
    if as_json:
        output.emit_json("affidavit.schemas/1", {"schemas": found})
        return
    output.table(("schema", "fingerprint", "sha256"), [tuple(one.values()) for one in found])


@schemas.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As schemas list shows it, such as record.v1.")],
    as_json: options.Json = False,
) -> None:
    """Print one schema, byte for byte.

    Example:

    \b
      affidavit schemas show record.v1
    """
    import json

    from schemas.errors import MalformedInput

    known = [one["name"] for one in _published()]
    if name not in known:
        raise MalformedInput(f"got schema {name!r}, expected {', '.join(known)}")
    text = _file(name).read_text("utf-8")
    if as_json:
        found = next(one for one in _published() if one["name"] == name)
        output.emit_json("affidavit.schema/1", {**found, "avro": json.loads(text)})
    else:
        output.emit(text.removesuffix("\n"))


@schemas.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made when it is not there.")],
    as_json: options.Json = False,
) -> None:
    """Copy all schemas into a folder, a file each, and the dictionary that metadata is compressed with. A file that is
    there with other bytes is refused, not replaced.

    Example:

    \b
      affidavit schemas export ./schemas
    """
    from schemas.errors import ConfigurationError

    found = _published()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            _copy(_file(one["name"]), folder)
        _copy(_file("metadata.v1").with_suffix(".dict"), folder)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {folder}: {error.strerror}") from error
    if as_json:
        output.emit_json("affidavit.schemas-exported/1", {"folder": folder.absolute(), "schemas": found})
    else:
        output.say(f"{len(found)} schemas in {folder}")


def _copy(source: Path, folder: Path) -> None:
    from schemas.errors import ConfigurationError

    target = folder / source.name
    if target.exists() and target.read_bytes() != source.read_bytes():
        raise ConfigurationError(f"{target} is not the released file of that name: move it away")
    target.write_bytes(source.read_bytes())


def _published() -> list[dict[str, Any]]:
    import hashlib

    from schemas.fingerprints import FINGERPRINTS

    return [
        {
            "name": name,
            "fingerprint": FINGERPRINTS[name].hex(),
            "sha256": hashlib.sha256(_file(name).read_bytes()).hexdigest(),
        }
        for name in sorted(FINGERPRINTS)
    ]


def _file(name: str) -> Path:
    import schemas

    return Path(schemas.__file__).parent / "avro" / f"{name}.avsc"
