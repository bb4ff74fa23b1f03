"""Watching the processes of a run from within: each writes down what it unpickles.

`sitecustomize` is imported by every interpreter that finds it, before anything else: so the hook is there
before the first line of ours, in every process that inherits the environment.
"""

from __future__ import annotations

import os
from pathlib import Path

HOOK = '''
import os
import sys

_folder = os.environ["DUALSYS_AUDIT_FOLDER"]
_log = open(os.path.join(_folder, str(os.getpid())), "a", buffering=1, encoding="utf-8")
_log.write("started " + " ".join(sys.orig_argv) + "\\n")


def _importer():
    """The module that an import statement stands in."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib."):
        frame = frame.f_back
    return "" if frame is None else frame.f_globals.get("__name__", "")


def _hook(event, arguments):
    if event == "pickle.find_class":
        _log.write(f"unpickled {arguments[0]}.{arguments[1]}\\n")
    elif event == "import" and arguments[0] in ("pickle", "_pickle", "cloudpickle", "dill", "shelve"):
        if _importer().split(".")[0] in ("dualsys", "dualsys_sim", "__main__"):
            _log.write(f"imported {arguments[0]} by {_importer()}\\n")


sys.addaudithook(_hook)
'''


def watched(folder: Path) -> dict[str, str]:
    """An environment whose Python processes write down what they do into files in `folder`."""
    hook, logs = folder / "hook", folder / "logs"
    hook.mkdir()
    logs.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    paths = [str(hook), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DUALSYS_AUDIT_FOLDER": str(logs)}


def processes(folder: Path) -> list[list[str]]:
    """What each process wrote down, beginning with the words that it was started with."""
    return [path.read_text("utf-8").splitlines() for path in sorted((folder / "logs").iterdir())]
