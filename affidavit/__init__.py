"""The application: settings, wiring, command line."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("affidavit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
