from __future__ import annotations

import logging

import numpy as np
import pytest

from dualsys.errors import PolicyError, SpecError
from dualsys.fast.policies.guard import PolicyGuard, require_array


class Mine:
    """A policy of somebody's own."""


@pytest.mark.parametrize(
    "error", [ValueError("no such row"), IndexError("no such row"), RuntimeError("no such row")]
)
def test_what_the_code_of_a_policy_raises_names_the_policy_and_the_exception(error: Exception) -> None:
    kind = type(error).__name__
    with (
        pytest.raises(PolicyError, match=rf"^System 1 policy {__name__}.Mine failed: {kind}: no such row$"),
        PolicyGuard(Mine()).entered(),
    ):
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError(), SpecError("told well")])
def test_what_is_no_fault_of_its_code_or_told_on_purpose_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, PolicyGuard(Mine()).entered():
        raise error
    assert caught.value is error


def test_the_first_exception_of_each_kind_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = PolicyGuard(Mine())
    for error in (ValueError("one"), ValueError("two"), IndexError("three")):
        with pytest.raises(PolicyError), guard.entered():
            raise error
    assert [(entry.levelno, entry.exc_info is not None) for entry in caplog.records] == [
        (logging.ERROR, True)
    ] * 2
    assert "one" in caplog.text
    assert "two" not in caplog.text
    assert "three" in caplog.text
    assert "test_guard.py" in caplog.text


def test_a_text_of_many_lines_becomes_a_short_one() -> None:
    with pytest.raises(PolicyError) as caught, PolicyGuard(Mine()).entered():
        raise ValueError("wrong:\n" + "0.0, " * 1000)
    assert "wrong: 0.0, 0.0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (None, "got builtins.NoneType"),
        ([[0.0] * 4], "got builtins.list"),
        (np.array(["a"]), "got one of str"),
        (np.array([None]), "got one of object"),
        (np.zeros(4, np.complex128), "got one of complex128"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(made: object, got: str) -> None:
    with pytest.raises(TypeError, match=got):
        require_array(made)


def test_an_array_of_numbers_is_returned_as_it_is() -> None:
    chunk = np.zeros((3, 4), np.float64)
    assert require_array(chunk) is chunk
