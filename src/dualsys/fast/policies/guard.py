"""The boundary between the planner and the code of a policy, which anybody may have written."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dualsys.errors import DualsysError, PolicyError
from dualsys.messages import clip_detail
from dualsys.specs import DTYPES

_LOG = logging.getLogger(__name__)


class PolicyGuard:
    """Turns what the code of a policy raises into errors that a planner survives and counts.

    What it returns is taken apart within the same boundary: an array of a wrong shape trips our code, not its
    own.

    Args:
        policy: Named in errors by its class.
    """

    def __init__(self, policy: object) -> None:
        kind = type(policy)
        self._name = f"System 1 policy {kind.__module__}.{kind.__qualname__}"
        self._logged: set[type[Exception]] = set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run code of the policy.

        The first exception of each kind is logged with its traceback.

        Raises:
            PolicyError: It raised something that is no error of dualsys; names the policy and what it raised.
                What is no fault of its own passes: a lack of memory, Ctrl-C, an exit.
        """
        try:
            yield
        except (DualsysError, MemoryError):
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {clip_detail(str(error))}"
            told = PolicyError(f"{self._name} failed: {what}")
            if type(error) not in self._logged:
                self._logged.add(type(error))
                _LOG.exception("%s; more of this kind are only counted", told)
            raise told from error


def require_array(made: object) -> np.ndarray[Any, Any]:
    """Return what a policy made if it is an array that can be sent and recorded; its shape is not looked at.

    Raises:
        TypeError: It is none, such as a list or a tensor of torch; or its elements are no numbers.
    """
    if not isinstance(made, np.ndarray):
        raise TypeError(f"expected a NumPy array, got {type(made).__module__}.{type(made).__qualname__}")
    if made.dtype.name not in DTYPES:
        raise TypeError(f"expected an array of {', '.join(DTYPES)}, got one of {made.dtype.name}")
    return made
