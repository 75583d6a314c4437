"""``archive``: the object store that holds ledger and archive."""

from __future__ import annotations

from typing import Annotated

import typer

from affidavit.cli import exits, options, output

archive = typer.Typer(help="The object store.", no_args_is_help=True)

MARKS = {"ok": "ok", "warning": "warning", "failure": "FAILURE", "unknown": "unknown"}


@archive.command("doctor")
def doctor(
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Write objects of our own and try what must be refused; one stays until tomorrow."
        ),
    ] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Check whether the bucket is fit to hold what must not change: versioning, Object Lock, default retention, policy,
    lifecycle, who may do what weighs.

    Settings say what a service promises. With --probe it is tried: deleting a locked version, with bypass and in bulk,
    shortening and weakening its lock, suspending versioning, writing a key twice. docs/object-lock.md says which
    services fail which. Exits 1 when something fails.

    Example:

    \b
      affidavit archive doctor
      affidavit archive doctor --probe --json
    """
    from affidavit.servers import s3_config
    from affidavit.settings import data_directory, load
    from schemas.errors import ConfigurationError

    settings = load(data_directory(data))
    if not settings.objects.bucket:
        raise ConfigurationError(
            "objects.bucket is not set: ledger and archive lie in a directory, which nothing locks"
        )
    from stores.objects.s3_doctor import examine
    from stores.objects.s3_doctor import probe as try_locks

    config = s3_config(settings)
    findings = list(examine(config))
    if probe and all(one.state != "failure" for one in findings[:3]):
        findings += try_locks(config)
    failed = any(one.state == "failure" for one in findings)
    if as_json:
        rows = [{"name": one.name, "state": one.state, "found": one.found, "remedy": one.remedy} for one in findings]
        output.emit_json("affidavit.archive-doctor/1", {"bucket": config.bucket, "healthy": not failed, "checks": rows})
        return exits.INTEGRITY_FAILURE if failed else exits.DONE
    output.table(
        ("check", "", "found", "remedy"), [(one.name, MARKS[one.state], one.found, one.remedy) for one in findings]
    )
    if not probe:
        output.say("these are settings; --probe tries whether the locks hold")
    return exits.INTEGRITY_FAILURE if failed else exits.DONE
