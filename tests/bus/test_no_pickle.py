"""Nothing that a peer sends is ever unpickled, evaluated or imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Training reads files of its own making, and hands work to processes of its own.
SHIPPED = [
    path
    for base in ("src", "sim")
    for path in sorted((ROOT / base).rglob("*.py"))
    if "train" not in path.relative_to(ROOT).parts
]
# The benchmark that measures what pickle over gRPC costs; nothing that runs a robot imports it.
PICKLES = ROOT / "src/dualsys/bench/bus_pickle_grpc.py"
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
FORBIDDEN_NAMES = {
    "recv_pyobj",
    "send_pyobj",
    "allow_pickle",
    "eval",
    "exec",
    "compile",
    "unsafe_load",
    "full_load",
}

WATCHED = """
import sys
from pathlib import Path
sys.path.insert(0, {fuzz!r})
import fuzz, random
servers = fuzz.Servers()
events = []
armed = False
def hook(event, arguments):
    watched = ("pickle.", "marshal.", "os.system", "subprocess.", "exec", "compile")
    if armed and event.startswith(watched):
        events.append(event)
sys.addaudithook(hook)
rng = random.Random(1)
seeds = fuzz.corpus()
for data in seeds:
    fuzz.read(data)
    servers.attack(data, rng)
servers.is_serving()
armed = True
for data in seeds * 3:
    fuzz.read(data)
    servers.attack(data, rng)
servers.is_serving()
armed = False
servers.close()
import pickle
armed = True
if {control!r}:
    pickle.loads(pickle.dumps(Path))
armed = False
print(*sorted(set(events)))
"""


@pytest.mark.parametrize("control", [False, True])
def test_a_process_that_reads_hostile_bytes_unpickles_compiles_and_runs_nothing(control: bool) -> None:
    code = WATCHED.format(fuzz=str(ROOT / "tests/fuzz"), control=control)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    # The hook does see an unpickling, where there is one.
    assert done.stdout.split() == (["pickle.find_class"] if control else [])


def test_only_the_benchmark_of_pickle_imports_pickle() -> None:
    for base in ("src", "sim"):
        for path in (ROOT / base).rglob("*.py"):
            text = path.read_text("utf-8")
            found = re.search(r"^\s*(import|from) pickle\b", text, re.MULTILINE) is not None
            assert found == (path == PICKLES), path
            if "bus_pickle_grpc" in text:
                assert path.parent.name == "bench", path


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if path != PICKLES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_shipped_module_can_unpickle_or_evaluate(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        where = f"line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not {name.split(".")[0] for name in names} & FORBIDDEN_MODULES, where
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_NAMES, where
        if isinstance(node, ast.Attribute):
            # `re.compile` compiles no program.
            assert node.attr not in FORBIDDEN_NAMES - {"compile", "eval"}, where
        if isinstance(node, ast.keyword):
            assert node.arg not in FORBIDDEN_NAMES, where
