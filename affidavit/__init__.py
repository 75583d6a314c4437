"""The application: settings, wiring, command line."""

from __future__ import annotations


def version() -> str:
    """The installed version; looked up when asked, for the look-up costs more than ``--help`` may."""
    from importlib import metadata

    try:
        return metadata.version("affidavit")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
