"""Who may import whom. The rules are the drawing in docs/architecture.md, as assertions."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = ("dualsys.clock", "dualsys.errors", "dualsys.specs", "dualsys.messages")


@dataclass(frozen=True)
class Import:
    """One import statement.

    Attributes:
        importer: Module that contains it.
        target: Module, or member of a module, that it names.
        deferred: It stands inside a function.
        typing_only: It stands under `if TYPE_CHECKING:`.
        line: Where, as `file:line`.
    """

    importer: str
    target: str
    deferred: bool
    typing_only: bool
    line: str


def within(name: str, *packages: str) -> bool:
    """Tell whether `name` is one of the packages or lies inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def sources() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of every module of the two packages."""
    for base in (ROOT / "src", ROOT / "sim"):
        for path in sorted(base.rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(module: str, path: Path) -> Iterator[Import]:
    """Yield every import of the module in a file, with relative ones resolved."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]

    def visit(node: ast.AST, deferred: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            line = f"{path}:{getattr(child, 'lineno', 0)}"
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                origin = ".".join([*base, *([child.module] if child.module else [])])
                names = [f"{origin}.{alias.name}" for alias in child.names]
            yield from (Import(module, name, deferred, typing_only, line) for name in names)
            inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            guard = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            yield from visit(child, inside, typing_only or guard)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False, False)


IMPORTS = [found for module, path in sources() for found in imports_of(module, path)]


def offences(importers: tuple[str, ...], *forbidden: str) -> list[str]:
    """List where any of `importers` imports any of `forbidden`, directly."""
    return [
        f"{found.line}: {found.importer} imports {found.target}"
        for found in IMPORTS
        if within(found.importer, *importers) and within(found.target, *forbidden)
    ]


def inner_imports(importers: tuple[str, ...], beyond: tuple[str, ...]) -> list[str]:
    """List what `importers` import of dualsys itself, apart from each other and `beyond`."""
    allowed = (*importers, *beyond)
    return [line for line in offences(importers, "dualsys") if not within(line.split()[-1], *allowed)]


def runs_without(statement: str, *unwanted: str) -> None:
    """Assert that a fresh interpreter which runs `statement` has loaded none of `unwanted`."""
    code = f"import sys\n{statement}\nprint(*[name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"{statement!r} loads {done.stdout.split()}"


def test_the_parser_sees_relative_deferred_and_typing_imports(tmp_path: Path) -> None:
    sample = tmp_path / "z.py"
    text = (
        "from typing import TYPE_CHECKING\n"
        "from . import a\n"
        "from ..b import c\n"
        "if TYPE_CHECKING:\n    import d\n"
        "def f():\n    import e.g\n"
    )
    sample.write_text(text, encoding="utf-8")
    found = {one.target: (one.deferred, one.typing_only) for one in imports_of("x.y.z", sample)}
    assert found == {
        "typing.TYPE_CHECKING": (False, False),
        "x.y.a": (False, False),
        "x.b.c": (False, False),
        "d": (False, True),
        "e.g": (True, False),
    }


def test_the_contracts_import_nothing_of_ours_beyond_each_other() -> None:
    assert inner_imports(CONTRACTS, beyond=()) == []


def test_the_bus_imports_only_the_contracts() -> None:
    assert inner_imports(("dualsys.bus",), beyond=CONTRACTS) == []


def test_control_imports_no_inference_no_event_loop_and_no_planner() -> None:
    heavy = ("torch", "onnxruntime", "asyncio", "uvloop", "zmq.asyncio")
    other_rooms = ("dualsys.slow", "dualsys.fast.planner", "dualsys.fast.policies", "dualsys.models")
    assert offences(("dualsys.fast.control",), *heavy, *other_rooms) == []


def test_slow_and_fast_do_not_know_each_other() -> None:
    assert offences(("dualsys.slow",), "dualsys.fast") == []
    assert offences(("dualsys.fast",), "dualsys.slow") == []


def test_nobody_imports_the_command_line() -> None:
    rest = [found for found in IMPORTS if not within(found.importer, "dualsys.cli", "dualsys.__main__")]
    assert [found.line for found in rest if within(found.target, "dualsys.cli")] == []


def test_every_program_reads_its_command_line_in_the_same_way() -> None:
    parsers = ("tyro.cli(", "ArgumentParser(")
    reading = [module for module, path in sources() if any(one in path.read_text("utf-8") for one in parsers)]
    assert reading == ["dualsys.command_line"]
    assert [found.line for found in IMPORTS if within(found.target, "tyro.cli")] == []


def test_torch_is_imported_only_by_the_networks_and_their_training() -> None:
    rest = [found for found in IMPORTS if not within(found.importer, "dualsys.models", "dualsys.train")]
    assert [found.line for found in rest if within(found.target, "torch", "onnx", "onnxscript")] == []


@pytest.mark.fault_row(38, 39, 40)
def test_processes_are_given_no_memory_to_share() -> None:
    # Measurements lay it beside the bus; training keeps its data in files.
    rest = [found for found in IMPORTS if not within(found.importer, "dualsys.bench", "dualsys.train")]
    sharing = ("mmap", "multiprocessing.shared_memory", "multiprocessing.sharedctypes", "numpy.memmap")
    assert [found.line for found in rest if within(found.target, *sharing)] == []
    assert any(within(found.target, "mmap") for found in IMPORTS), "such an import would be seen"


def test_only_the_simulator_imports_the_physics_engine() -> None:
    assert offences(("dualsys",), "pybullet", "pybullet_data") == []


def test_dualsys_reaches_for_the_simulator_only_lazily_and_only_where_it_drives_one() -> None:
    # Training is the exception: it is made of simulated scenes, and no process that drives an arm imports it.
    allowed = ("dualsys.cli", "dualsys.twin", "dualsys.bench")
    ours = [found for found in IMPORTS if within(found.importer, "dualsys")]
    running = [found for found in ours if not within(found.importer, "dualsys.train")]
    reaching = [found for found in running if within(found.target, "dualsys_sim")]
    assert [found.line for found in reaching if not within(found.importer, *allowed)] == []
    assert [found.line for found in reaching if not (found.deferred or found.typing_only)] == []


def test_what_drives_an_arm_imports_no_training() -> None:
    rest = [found for found in IMPORTS if not within(found.importer, "dualsys.models", "dualsys.train")]
    eager = [found for found in rest if not (found.deferred or found.typing_only)]
    assert [found.line for found in eager if within(found.target, "dualsys.models", "dualsys.train")] == []


@pytest.mark.parametrize("module", ["dualsys", "dualsys.fast.planner.core", "dualsys.slow.core"])
def test_a_core_brings_in_neither_torch_nor_a_simulator(module: str) -> None:
    runs_without(f"import {module}", "torch", "pybullet", "dualsys_sim", "matplotlib")


def test_the_control_core_brings_in_nothing_heavy() -> None:
    heavy = ("torch", "onnxruntime", "asyncio", "pydantic", "rich", "tyro")
    runs_without("import dualsys.fast.control.core", *heavy)


def test_the_control_process_brings_in_neither_inference_nor_an_event_loop() -> None:
    runs_without("import dualsys.fast.control.process", "torch", "onnxruntime", "asyncio", "rich", "tyro")


def test_inference_notes_its_use_nowhere_and_reports_to_nobody(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    given = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    code = "import dualsys.slow.backends.onnx, dualsys.fast.policies.graph"
    subprocess.run([sys.executable, "-c", code], env=given | home, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
