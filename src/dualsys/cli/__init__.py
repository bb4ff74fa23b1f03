"""The command line. `main` is the program `dualsys`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments after the program's name; those of this process by default.

    Returns:
        Exit code: 0 done, 1 a run failed, 2 an error that is the caller's to mend, 130 stopped by Ctrl-C.
    """
    # Importing the package must stay cheap: the processes next to the arm do it too, and need none of this.
    from dualsys.cli.commands import execute

    return execute(sys.argv[1:] if argv is None else argv)
