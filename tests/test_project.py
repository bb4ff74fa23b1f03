"""Habits of the project, as tests: each has one reason, given where it is checked."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import dualsys

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "sim").rglob("*.py")])
WRITTEN = sorted([*SHIPPED, *(ROOT / "tests").rglob("*.py")])
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAX_LINES = 450


def name_of(path: Path) -> str:
    """Return the path as people write it, relative to the root."""
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    """Parse one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for an attribute chain; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def imported_names(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def safe_loaders(tree: ast.Module) -> set[str]:
    """Return the YAML loaders that build plain data only, those that the module derives included."""
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    derived = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.bases]
    return safe | {node.name for node in derived if {ast.unparse(base) for base in node.bases} <= safe}


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_only_the_clock_module_reads_time(path: Path) -> None:
    # A second source of time cannot be moved by the twin, and would break replay.
    # The loop that is measured to compare with does on purpose what this rule forbids.
    if name_of(path) in ("src/dualsys/clock.py", "src/dualsys/bench/jitter_naive.py"):
        return
    assert not imported_names(tree_of(path)) & {"time", "datetime"}


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_nothing_loads_code_from_data(path: Path) -> None:
    # Bundles, recordings and messages come from strangers; none of them may run.
    # The transport that is measured to compare with does on purpose what this rule forbids.
    peer = {"pickle"} if name_of(path) == "src/dualsys/bench/bus_pickle_grpc.py" else set()
    tree = tree_of(path)
    loaders = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    assert imported_names(tree) & loaders == peer
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert called not in {"eval", "exec", "yaml.unsafe_load", "yaml.full_load"}, node.lineno
        if called == "yaml.load":
            assert ast.unparse(node.args[1]) in safe_loaders(tree), node.lineno
        assert options.get("weights_only") != "False", node.lineno
        assert options.get("allow_pickle") != "True", node.lineno
        assert options.get("shell") != "True", node.lineno
        if called == "torch.load":
            assert options.get("weights_only") == "True", node.lineno


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = tree_of(path)
    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_annotations_are_never_evaluated_at_import(path: Path) -> None:
    tree = tree_of(path)
    code = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign)]
    assert not code or "__future__" in imported_names(tree)


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_every_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_no_fault_disappears(path: Path) -> None:
    # A bare `except`, or one whose body is only `pass`, hides one; `contextlib.suppress` says what is meant.
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not silent, f"line {node.lineno}: the fault is dropped"


@pytest.mark.parametrize("path", [*SHIPPED, *PAGES], ids=name_of)
def test_nothing_is_left_to_do(path: Path) -> None:
    markers = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))
    assert markers == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    inner = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in inner if not (path.parent / link).exists()] == []


def declared(extra: str | None = None) -> set[str]:
    """Return the distributions that the package, or one of its extras, asks for."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower() for line in lines} - {"dualsys"}


def test_every_imported_package_is_declared_where_it_is_needed() -> None:
    # An edge install has the base only: a module that it can reach must not need more.
    modules = {"pyyaml": "yaml", "pyzmq": "zmq"}
    base = {modules.get(name, name) for name in declared()} | {"pydantic_core"}
    sim = base | declared("sim") | {"pybullet_data"}
    record = base | declared("record")
    train = sim | declared("train")
    ours = {"dualsys", "dualsys_sim"} | set(sys.stdlib_module_names)
    missing = []
    for path in SHIPPED:
        name = name_of(path)
        allowed = base
        if name in ("sim/dualsys_sim/environment.py", "sim/dualsys_sim/red_marker.py"):
            # Imported when an environment is made, behind MissingExtraError; the latter by Gymnasium itself.
            allowed = sim | declared("gymnasium")
        elif name.startswith("sim/"):
            allowed = sim
        elif name.startswith(("src/dualsys/models/", "src/dualsys/train/")):
            allowed = train
        elif name.startswith("src/dualsys/telemetry/"):
            # Films and figures are drawn on request, behind MissingExtraError.
            allowed = base | {"av", "matplotlib"}
        elif name == "src/dualsys/fast/control/online.py":
            # Imported where the configuration asks for it, behind MissingExtraError.
            allowed = base | declared("ruckig")
        elif name.startswith("src/dualsys/robots/"):
            # Imported when the driver of that arm is opened, behind MissingExtraError.
            allowed = base | {"dynamixel_sdk", "scservo_sdk", "serial", "xarm"}
            allowed |= {"dashboard_client", "panda_py", "rtde_control", "rtde_receive"}
        elif name.startswith("src/dualsys/slow/"):
            # Imported when System 2 is served, behind MissingExtraError.
            allowed = base | declared("slow")
        elif name.startswith("src/dualsys/cameras/"):
            # Imported when the driver of that camera is opened, behind MissingExtraError.
            allowed = base | {"av", "cv2", "pyrealsense2"}
        elif name.startswith("src/dualsys/recorder/"):
            # Imported by the recorder process and by whoever reads a recording, behind MissingExtraError.
            allowed = record
        missing += [f"{name}: {package}" for package in imported_names(tree_of(path)) - allowed - ours]
    assert missing == []


def test_every_base_dependency_is_used() -> None:
    modules = {"pyyaml": "yaml", "pyzmq": "zmq"}
    edge = [path for path in SHIPPED if name_of(path).startswith("src/")]
    used = set().union(*(imported_names(tree_of(path)) for path in edge))
    assert {modules.get(name, name) for name in declared()} - used == set()


def test_every_declared_package_is_pinned_for_the_tests() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    cameras = ("opencv", "realsense", "video")
    robots = ("dynamixel", "feetech", "franka", "ur", "xarm")
    extras = ("slow", "sim", "record", "ruckig", *robots, *cameras, "train", "test")
    needed = declared().union(*(declared(extra) for extra in extras))
    assert needed - pinned == set()


def test_the_version_is_the_same_everywhere() -> None:
    assert dualsys.__version__ == PROJECT["version"] == version("dualsys")
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_public_face_is_sorted_and_complete() -> None:
    assert list(dualsys.__all__) == sorted(dualsys.__all__)
    assert set(dualsys.__all__) <= set(dir(dualsys))
    for name in dualsys.__all__:
        assert getattr(dualsys, name) is not None


def test_type_checkers_see_the_same_public_names_from_the_same_modules() -> None:
    tree = tree_of(ROOT / "src/dualsys/__init__.py")
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name: node.module
        for block in guarded
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(seen) == set(dualsys.__all__) - {"__version__"}
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(dualsys, name)


def test_every_error_is_public() -> None:
    tree = tree_of(ROOT / "src/dualsys/errors.py")
    assert {node.name for node in tree.body if isinstance(node, ast.ClassDef)} <= set(dualsys.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dualsys.no_such_name


def test_importing_the_package_loads_none_of_its_modules() -> None:
    code = "import sys, dualsys; print(*(name for name in sys.modules if 'dualsys.' in name))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []
