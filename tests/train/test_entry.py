"""How the programs of training start where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dualsys.errors import BundleError
from dualsys.train import entry
from dualsys.train.entry import start

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = (
    "dualsys.train",
    "dualsys.train.residual",
    "dualsys.train.first_plan",
    "dualsys.train.panda_gym",
    "dualsys.train.panda_gym.expert",
)


def without(package: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of training as `python -m` does, where a package is not installed."""
    code = (
        "import runpy, sys\n"
        f"sys.modules[{package!r}] = None\n"
        f"sys.argv = [{program!r}]\n"
        f"runpy.run_module({program!r}, run_name='__main__', alter_sys=True)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_of_training_without_torch_says_what_to_install_and_no_more(program: str) -> None:
    done = without("torch", program)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith("needs 'torch': pip install 'dualsys[train]'\n")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_what_is_needed_only_hours_later_is_missed_at_once() -> None:
    done = without("onnxscript", "dualsys.train")
    assert done.returncode == 2
    assert done.stderr == "error: training needs 'onnxscript': pip install 'dualsys[train]'\n"


def test_a_package_of_another_extra_is_told_with_that_extra() -> None:
    done = without("panda_gym", "dualsys.train.panda_gym")
    assert done.returncode == 2
    assert done.stderr.endswith(" needs 'panda_gym': pip install 'dualsys[panda-gym]'\n")


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (None, 0, ""),
        (BundleError("x.pt: damaged"), 2, "error: x.pt: damaged\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_program_ends_is_its_exit_status(
    raised: BaseException | None,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(entry, "import_module", lambda _: SimpleNamespace(main=main))
    assert start("any", "training", {}) == code
    assert capsys.readouterr().err == told
