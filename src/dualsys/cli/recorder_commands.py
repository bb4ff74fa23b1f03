"""`dualsys record` and `dualsys replay`: check, explain and recompute a recording."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from dualsys.cli.arguments import RecordCommand, ReplayCommand
from dualsys.errors import ConfigError
from dualsys.recorder.extra import FILE_NAME, require_mcap

SAME, DIFFERENT = 0, 1


def record(command: RecordCommand | ReplayCommand) -> int:
    """Run one of these commands.

    Returns:
        Exit code: 0 if the recording is intact, was explained, or is reproduced; 1 if not.

    Raises:
        MissingExtraError: The MCAP library is not installed.
        RecordingError: The file cannot be read.
    """
    require_mcap("reading a recording")
    if isinstance(command, ReplayCommand):
        from dualsys.recorder.replay import replay

        verdict = replay(command.file)
        _print(verdict.lines())
        return SAME if verdict.reproduced else DIFFERENT
    if command.action == "verify":
        return _verify(command.file)
    if command.at is None:
        raise ConfigError("command line", ["--at: has no value; write --at SECONDS, such as --at 12.5"])
    from dualsys.recorder.explain import explain

    _print(explain(command.file, command.at))
    return SAME


def _verify(path: Path) -> int:
    from dualsys.recorder.chain import verify

    verdict = verify(path / FILE_NAME if path.is_dir() else path)
    _print(verdict.lines())
    return SAME if verdict.intact else DIFFERENT


def _print(lines: list[str]) -> None:
    console = Console()
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
