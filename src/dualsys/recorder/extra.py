"""What a run needs to know about its recording, without the library that writes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dualsys.errors import ConfigError, RecordingError
from dualsys.telemetry.extras import optional

if TYPE_CHECKING:
    from dualsys.config import SystemConfig

PROCESS: Final = "recorder"
"""What the recorder is called among the processes of a run. It starts first and stops last."""

FILE_NAME: Final = "recording.mcap"
"""Name of the recording in a run folder."""


def require_mcap(purpose: str) -> None:
    """Return if the MCAP library is there.

    Args:
        purpose: What it is needed for, for the error.

    Raises:
        MissingExtraError: It is not; names the line that installs it.
    """
    optional("mcap", purpose, extra="record")


def recorded_to(config: SystemConfig, folder: Path) -> SystemConfig:
    """The configuration of a run whose folder is known; the same if nothing is recorded.

    Raises:
        MissingExtraError: The MCAP library is not installed.
        ConfigError: The file exists.
    """
    if not config.record.enabled:
        return config
    require_mcap("recording a run (record.enabled)")
    file = config.record.file or folder / FILE_NAME
    if file.exists():
        raise ConfigError(
            "record.file", [f"record.file: {file} exists, and is not overwritten: move it away"]
        )
    return config.model_copy(update={"record": config.record.model_copy(update={"file": file})})


def closing_line(config: SystemConfig) -> str:
    """What to tell about the recording of a run that is over; empty if nothing was recorded."""
    file = config.record.file
    if not config.record.enabled or file is None:
        return ""
    from dualsys.recorder.chain import verify

    try:
        verdict = verify(file)
    except RecordingError as error:
        return f"no recording: {error}"
    state = (
        f"sealed, hash {verdict.head}" if verdict.intact else "not sealed: the recorder did not end properly"
    )
    return f"recording {file.name}: {file.stat().st_size / 1e6:.1f} MB, {state}"
