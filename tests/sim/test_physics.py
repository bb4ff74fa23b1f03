"""Loading the physics engine: silent, and blind to nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own: the engine announces itself once for each process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_the_engine_is_loaded_without_a_word() -> None:
    done = run("import dualsys_sim.world")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_others_say_meanwhile_and_afterwards_is_heard() -> None:
    done = run(
        "import os, sys\n"
        "class Loader:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pybullet':\n"
        "            os.write(2, b'pybullet build time: now\\nno display found\\n')\n"
        "sys.meta_path.insert(0, Loader())\n"
        "import dualsys_sim.physics\n"
        "os.write(2, b'afterwards\\n')\n"
    )
    assert (done.stdout, done.stderr) == ("", "no display found\nafterwards\n")


def test_a_missing_engine_is_named_and_standard_error_given_back() -> None:
    done = run(
        "import os, sys\n"
        "sys.modules['pybullet'] = None\n"
        "try:\n"
        "    import dualsys_sim.physics\n"
        "except ModuleNotFoundError as error:\n"
        "    os.write(2, error.name.encode())\n"
    )
    assert (done.returncode, done.stderr) == (0, "pybullet")


def test_a_process_without_standard_error_can_load_it() -> None:
    code = "import os, sys\nos.close(2)\nsys.stderr = None\nimport dualsys_sim.world\nprint('loaded')"
    assert run(code).stdout == "loaded\n"


def test_nobody_else_imports_the_engine(repository: Path) -> None:
    importers = set()
    for path in (repository / "sim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and "pybullet" in [alias.name for alias in node.names]:
                importers.add(path.name)
    assert importers == {"physics.py"}
