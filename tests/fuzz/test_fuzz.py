"""A short run of the fuzzer, the same one every time; `make fuzz` runs it for as long as wanted."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def loaded() -> ModuleType:
    """The fuzzer, which is a program and not part of a package; what it needs is beside it."""
    sys.path.insert(0, str(HERE))
    spec = importlib.util.spec_from_file_location("dualsys_fuzz", HERE / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FUZZER = loaded()


@pytest.mark.parametrize("path", sorted((HERE / "corpus").glob("*.bin")), ids=lambda path: path.stem)
def test_every_input_of_the_corpus_is_read_or_refused(path: Path) -> None:
    FUZZER.read(path.read_bytes())


def test_the_corpus_has_a_valid_message_of_every_type() -> None:
    kinds = {type(FUZZER.decode(data)) for data in FUZZER.corpus() if is_valid(data)}
    assert kinds == set(FUZZER.TYPES)


def test_the_corpus_has_what_every_receiver_takes_for_good() -> None:
    seeds = [data for data in FUZZER.corpus() if is_valid(data)]
    taken = set().union(*(FUZZER.receive(FUZZER.decode(data)) for data in seeds))
    codecs = ("float32", "float16", "bfloat16", "int8")
    coded = {f"{what} as {codec}" for what in ("latent", "features") for codec in codecs}
    others = {"images", "round trip", "hello", "robot of a fleet", "epoch of control", "robot", "plan", "arm"}
    assert taken == coded | others | {"state of control", "why it stopped"}


def is_valid(data: bytes) -> bool:
    return bool(FUZZER.read(data))


def test_whatever_comes_in_nothing_breaks_and_friends_are_served(tmp_path: Path) -> None:
    for path in (HERE / "corpus").glob("*.bin"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tried, valid = FUZZER.fuzz(random.Random(20260131), lambda tried: tried < 400, tmp_path)
    assert tried == 400
    # Mutations that nothing accepts would test only the first check.
    assert valid > 20


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 60)])
def test_a_long_run_may_spare_the_sockets(
    share: float, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seed.bin").write_bytes(b"\x80")
    attacked = []
    monkeypatch.setattr(FUZZER.Servers, "attack", lambda *given: attacked.append(given))
    tried, _ = FUZZER.fuzz(random.Random(1), lambda tried: tried < 60, tmp_path, sockets=share)
    assert (tried, len(attacked)) == (60, expected)


def test_an_input_that_breaks_something_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seed.bin").write_bytes(b"\x80")

    def broken(data: bytes) -> int:
        raise ZeroDivisionError(data.hex())

    monkeypatch.setattr(FUZZER, "read", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        FUZZER.fuzz(random.Random(1), lambda _: True, tmp_path)
    (found,) = tmp_path.glob("found-*.bin")
    assert found.read_bytes().hex() == str(caught.value)
