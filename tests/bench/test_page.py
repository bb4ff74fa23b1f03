"""What several pages say in one way."""

from __future__ import annotations

from dualsys.bench.page import strategy_text
from dualsys.fast.chunking.strategy import default_options
from dualsys.twin.settings import TwinSettings


def test_a_strategy_is_told_with_the_options_that_are_not_its_defaults() -> None:
    defaults = default_options("rtc")
    for options, told in (
        ({}, "`rtc`"),
        (defaults, "`rtc`"),
        (defaults | {"pull": "path"}, "`rtc` with `pull: path`"),
        (defaults | {"pull": "path", "beta": 2.0}, "`rtc` with `beta: 2.0`, `pull: path`"),
    ):
        assert strategy_text(TwinSettings(strategy="rtc", strategy_options=options).describe()) == told
