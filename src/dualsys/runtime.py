"""How the graph of a bundle is opened in ONNX Runtime: the same way on both sides of the line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnxruntime

from dualsys.errors import BundleError

ELEMENT_TYPES: Final = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}
"""Element types that our graphs use: the runtime's names, and ours."""

WEIGHTS: Final = "weights.bin"
"""File beside the graphs of a bundle that holds the weights of all of them."""


def open_graph(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU.

    Args:
        path: The ONNX file.
        threads: Threads within an operator. One gives the same numbers on every machine of a kind, and leaves
            the other cores to the control loop.

    Raises:
        BundleError: Not a graph that can be run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        weights = path.with_name(WEIGHTS)
        if weights.is_file():
            # Read here, once. The runtime would map the file: new weights that are copied over it would lead
            # the arm at once, unverified, and a file that is cut short ends the process.
            data = weights.read_bytes()
            options.add_external_initializers_from_files_in_memory([WEIGHTS], [data], [len(data)])
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # The runtime's own exceptions have no common base apart from Exception.
        raise BundleError(f"{path}: not a graph that can be run: {error}; export it again") from error
