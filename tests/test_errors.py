"""The tree of errors and what they say."""

from __future__ import annotations

import copy
import inspect
import re

import pytest

from dualsys import errors
from dualsys.errors import (
    AddressInUseError,
    BusError,
    ConfigError,
    DualsysError,
    MismatchError,
    MissingExtraError,
    PeerTimeoutError,
)

ALL = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, DualsysError)
}


def test_every_error_descends_from_one() -> None:
    raised = {
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)
    }
    assert raised == set(ALL)


def test_the_drawing_shows_every_error_under_its_parent() -> None:
    drawn: dict[str, str] = {}
    parents = {0: "DualsysError"}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^([│ ]*)[├└]── (\w+)", line):
            depth = len(match[1]) // 4 + 1
            drawn[match[2]] = parents[depth - 1]
            parents[depth] = match[2]
    real = {name: kind.__mro__[1].__name__ for name, kind in ALL.items() if kind is not DualsysError}
    assert drawn == real


def test_a_config_error_lists_every_fault() -> None:
    error = ConfigError("tabletop.yaml", ["a.b: got 1, expected 2", "c: unknown"])
    assert str(error) == "tabletop.yaml: 2 faults\n  a.b: got 1, expected 2\n  c: unknown"
    assert str(ConfigError("x", ["y"])).startswith("x: 1 fault\n")
    assert error.faults == ("a.b: got 1, expected 2", "c: unknown")


def test_a_missing_package_names_the_line_that_installs_it() -> None:
    error = MissingExtraError("pybullet", "sim", "the simulated robot")
    assert "pip install 'dualsys[sim]'" in str(error)
    assert isinstance(error, ImportError)


def test_a_taken_address_names_address_and_setting() -> None:
    error = AddressInUseError("tcp://127.0.0.1:7400", "endpoints.slow.latent")
    assert "tcp://127.0.0.1:7400" in str(error)
    assert "'endpoints.slow.latent'" in str(error)
    assert isinstance(error, BusError)


def test_a_mismatch_names_both_values_and_what_to_do() -> None:
    error = MismatchError("protocol", 1, 2, "upgrade one of them")
    assert str(error) == "protocol differs: ours 1, theirs 2; upgrade one of them"


def test_a_silent_peer_is_named_with_its_address() -> None:
    error = PeerTimeoutError("System 2", "tcp://127.0.0.1:7402", 2.5)
    assert str(error) == "no answer from System 2 at tcp://127.0.0.1:7402 within 2.5 s: is it running?"


@pytest.mark.parametrize("name", ["SpecError", "MessageError", "InstructionError", "KinematicsError"])
def test_wrong_values_are_value_errors_too(name: str) -> None:
    # Structures report these with the path of the field when they decode bytes.
    assert issubclass(ALL[name], ValueError)


def test_the_faults_of_a_configuration_survive_the_way_back_from_a_worker_process() -> None:
    error = ConfigError("a.yaml", ["one: wrong", "two: wrong"])
    again = copy.copy(error)
    assert (str(again), again.source, again.faults) == (str(error), error.source, error.faults)


def test_two_sides_that_disagree_are_told_across_processes_too() -> None:
    error = MismatchError("specs.latent.kind", "a", ("b",), "use two that fit")
    again = copy.copy(error)
    assert isinstance(again, MismatchError)
    assert (str(again), again.field, again.theirs) == (str(error), "specs.latent.kind", ("b",))
