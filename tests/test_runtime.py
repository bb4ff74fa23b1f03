"""Graphs are opened in one way, and a file that is none says what to do."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from dualsys.errors import BundleError
from dualsys.runtime import WEIGHTS, open_graph


def test_a_file_that_is_no_graph_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"g\.onnx: not a graph that can be run: .*; export it again"):
        open_graph(path)


def test_weights_that_are_overwritten_meanwhile_change_nothing_in_a_graph_that_is_open(
    repository: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "system1"
    shutil.copytree(repository / "bundles/tabletop/system1", bundle)
    session = open_graph(bundle / "sampler.onnx")
    rng = np.random.default_rng(0)
    feed = {node.name: rng.standard_normal(node.shape).astype(np.float32) for node in session.get_inputs()}
    (before,) = session.run(None, feed)
    with (bundle / WEIGHTS).open("r+b") as file:
        file.write(bytes((bundle / WEIGHTS).stat().st_size))
    (after,) = session.run(None, feed)
    assert np.array_equal(before, after)
    if sys.platform == "linux":
        assert str(bundle) not in Path("/proc/self/maps").read_text("utf-8")
