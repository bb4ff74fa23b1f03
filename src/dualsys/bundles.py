"""Model bundles: a folder with `bundle.json` and the ONNX graphs that it names.

The manifest says what the model is (role, specs, words, sampler, where it came from) and holds the SHA-256 of
every file, which is checked before any of them is opened: a half-copied or swapped graph is refused, not run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from dualsys.errors import BundleError
from dualsys.specs import ActionSpec, SystemSpecs

FORMAT = 2
"""Raised whenever `bundle.json` or the interface of a graph changes.

Of format 2: System 1 has graphs for its velocity and for a given prefix, and its guided sampler takes the
weight of every Euler step; in format 1 that graph takes their cap, `beta`.
"""
READABLE = (1, 2)
"""Formats that this version reads."""

MANIFEST = "bundle.json"

WHOLE, VISION, LANGUAGE = "system2.onnx", "vision.onnx", "language.onnx"
"""Graphs of System 2: the whole, and its two halves, which bundles from before there were any lack."""
FEATURES = "features"
"""What goes from one half to the other: the output of `VISION`, an input of `LANGUAGE`."""

Role = Literal["system1", "system2"]

_MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[^\W_A-Z]+")


class Sampler(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How System 1 draws a chunk.

    Attributes:
        steps: Integration steps inside the sampler graphs.
    """

    steps: Annotated[int, msgspec.Meta(ge=1)]


class Guidance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults of the guided sampler.

    Attributes:
        beta: Largest guidance weight.
    """

    beta: Annotated[float, msgspec.Meta(ge=0)]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The content of `bundle.json`.

    Attributes:
        format: One of `READABLE`.
        role: Which system it is.
        name: What people call it.
        specs: What System 2 is shown and what it publishes; equal in two bundles that were trained together.
        weights: Short digest of all files, echoed in every message that derives from them.
        files: File name to SHA-256, lower-case hexadecimal.
        action: System 1: what a chunk is.
        context: System 1: tensors that the condition graph hands to the samplers, in order.
        sampler: System 1: how chunks are drawn.
        guidance: System 1: defaults of the guided sampler.
        vocabulary: System 2: the words; index 0 is padding.
        max_words: System 2: longest instruction in words.
        training: Where the weights came from: data, seeds, steps, scores. For people.
    """

    format: int
    role: Role
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    specs: SystemSpecs
    weights: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    files: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    action: ActionSpec | None = None
    context: tuple[str, ...] = ()
    sampler: Sampler | None = None
    guidance: Guidance | None = None
    vocabulary: tuple[str, ...] = ()
    max_words: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 0
    training: dict[str, Any] = {}


def load_manifest(directory: str | Path, role: Role) -> Manifest:
    """Read a bundle's manifest and verify everything that it promises.

    Args:
        directory: Folder of the bundle.
        role: What it must be.

    Raises:
        BundleError: The manifest is missing, malformed, too new or of another role, a file is missing,
            damaged or outside the folder. Names file, field, value and remedy.
    """
    folder = Path(directory)
    source = folder / MANIFEST
    manifest = _parse(source)
    if manifest.role != role:
        _fail(
            source, f"role: expected {role!r}, got {manifest.role!r}", f"give the folder of a {role} bundle"
        )
    for field, wrong in _role_faults(manifest):
        _fail(source, f"{field}: {wrong}", "export the bundle again")
    for name, expected in manifest.files.items():
        _verify_file(source, folder, name, expected)
    return manifest


def bundle_file(directory: str | Path, manifest: Manifest, name: str) -> Path:
    """Return the path of a verified file.

    Raises:
        BundleError: The manifest does not list it.
    """
    if name not in manifest.files:
        listed = ", ".join(sorted(manifest.files))
        _fail(
            Path(directory) / MANIFEST, f"files: {name!r} is not listed (listed: {listed})", "export it again"
        )
    return Path(directory) / name


def half_file(directory: str | Path, manifest: Manifest, name: str) -> Path:
    """As `bundle_file`, for one of the halves of System 2.

    Raises:
        BundleError: The bundle has no halves; says what to do.
    """
    if name not in manifest.files:
        _fail(
            Path(directory) / MANIFEST,
            f"files: {name!r} is not listed, so this System 2 cannot be split: slow.uplink: features needs "
            "its two halves",
            "export it again from its checkpoint (`dualsys export`), or set slow.uplink to images",
        )
    return Path(directory) / name


def hash_files(directory: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Compute the `files` entry of a manifest: name to SHA-256."""
    return {name: _sha256(Path(directory) / name) for name in sorted(names)}


def weights_digest(files: dict[str, str]) -> str:
    """Compute the `weights` entry of a manifest from its `files`: 16 hexadecimal digits."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def write_manifest(directory: str | Path, manifest: Manifest) -> Path:
    """Write `bundle.json` and check that the bundle loads.

    Raises:
        BundleError: The bundle would not load.
    """
    path = Path(directory) / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    load_manifest(directory, manifest.role)
    return path


def _parse(source: Path) -> Manifest:
    try:
        if source.stat().st_size > _MAX_MANIFEST_BYTES:
            _fail(
                source,
                f"larger than {_MAX_MANIFEST_BYTES} bytes",
                "this is not a manifest: give another folder",
            )
        text = source.read_bytes()
    except OSError as error:
        remedy = (
            "name the folder of a bundle with slow.bundle or fast.bundle (in a file, a relative path starts "
            "where that file is), or export one"
        )
        _fail(source, f"cannot be read: {error.strerror}", remedy, error)
    try:
        version = msgspec.json.decode(text, type=dict[str, Any]).get("format")
        if version not in READABLE:
            expected = " or ".join(map(str, READABLE))
            _fail(
                source,
                f"format: expected {expected}, got {version!r}",
                "use the dualsys version that exported it",
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _fail(source, str(error) or "nested too deeply", "export the bundle again", error)


def require_finite(path: Path, output: str, values: NDArray[np.float32], given: str) -> None:
    """Refuse a graph whose weights are not numbers, before anything acts on what it computes.

    Args:
        path: The graph.
        output: Name of one of its outputs.
        values: What came out there, of any shape.
        given: What went in, for the error.

    Raises:
        BundleError: Some of the values are not finite.
    """
    wrong = values[~np.isfinite(values)]
    if wrong.size:
        raise BundleError(
            f"{path}: output {output!r}: expected finite numbers, got {wrong[0]} in {wrong.size} of "
            f"{values.size} elements from {given}; its weights are damaged: export it again"
        )


def _role_faults(manifest: Manifest) -> Iterable[tuple[str, str]]:
    if manifest.role == "system1":
        if manifest.action is None:
            yield "action", "missing, a system1 bundle says what its chunks are"
        return
    words = manifest.vocabulary[1:]
    if not words:
        yield "vocabulary", "expected padding and at least one word"
    if manifest.max_words < 1:
        yield "max_words", f"expected at least 1, got {manifest.max_words}"
    for word in words:
        if not _WORD.fullmatch(word):
            yield "vocabulary", f"{word!r} can never be said: expected lower-case letters and digits only"
    if len(set(manifest.vocabulary)) != len(manifest.vocabulary):
        twice = sorted({word for word in manifest.vocabulary if manifest.vocabulary.count(word) > 1})
        yield "vocabulary", f"has words twice: {', '.join(map(repr, twice))}"


def _verify_file(source: Path, folder: Path, name: str, expected: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        _fail(source, f"files: {name!r} is not a plain file name", "export the bundle again")
    if not _SHA256.fullmatch(expected):
        _fail(source, f"files.{name}: {expected!r} is not a SHA-256", "export the bundle again")
    try:
        found = _sha256(folder / name)
    except OSError as error:
        _fail(source, f"files.{name}: cannot be read: {error.strerror}", "copy the whole folder again", error)
    if found != expected:
        wrong = f"files.{name}: expected SHA-256 {expected}, the file has {found}"
        _fail(source, wrong, "it is damaged or was swapped: copy the whole folder again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fail(source: Path, wrong: str, remedy: str, cause: BaseException | None = None) -> NoReturn:
    raise BundleError(f"{source}: {wrong}; {remedy}") from cause
