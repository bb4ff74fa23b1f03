"""How the programs of training start: what is missing is told in a line, with what installs it.

They import torch and more at the top, as is usual, and that must not happen before anybody has looked whether
it is there. So each calls `start` above those imports, where it is run as a program, and `start` imports it
once more by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from dualsys.errors import DualsysError, MissingExtraError

TRAIN: Final = dict.fromkeys(("torch", "onnx", "onnxscript", "pybullet"), "train")
"""What training and exporting take, and the extra that installs it."""
PANDA_GYM: Final = {**TRAIN, "gymnasium": "panda-gym", "panda_gym": "panda-gym"}

DONE, USER_ERROR, INTERRUPTED = 0, 2, 130


def start(module: str, purpose: str, needs: Mapping[str, str]) -> int:
    """Run the `main` of a module if all that it needs is installed.

    Args:
        module: Its dotted name; nothing of it is imported before.
        purpose: What is done, for the line that tells what is missing.
        needs: Package to the extra that installs it.

    Returns:
        Exit code, as of the program `dualsys`: 0, 2 after a fault that was printed, 130 stopped by Ctrl-C.
    """
    try:
        for package, extra in needs.items():
            if find_spec(package) is None:
                raise MissingExtraError(package, extra, purpose)
        import_module(module).main()
    except DualsysError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE
