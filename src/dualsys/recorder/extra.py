"""The optional package behind recordings."""

from __future__ import annotations

from dualsys.telemetry.extras import optional


def require_mcap(purpose: str) -> None:
    """Return if the MCAP library is there.

    Args:
        purpose: What it is needed for, for the error.

    Raises:
        MissingExtraError: It is not; names the line that installs it.
    """
    optional("mcap", purpose, extra="record")
