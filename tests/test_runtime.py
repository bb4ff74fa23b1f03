"""Graphs are opened in one way, and a file that is none says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.errors import BundleError
from dualsys.runtime import open_graph


def test_a_file_that_is_no_graph_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"g\.onnx: not a graph that can be run: .*; export it again"):
        open_graph(path)
