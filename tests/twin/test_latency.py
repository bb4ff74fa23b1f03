from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.twin.latency import Constant, Empirical, Jitter, Latency, log_normal, parse_latency


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [("200ms", 200_000_000), ("0.2s", 200_000_000), ("1.5 ms", 1_500_000), ("30us", 30_000), ("0", 0)],
)
def test_a_duration_is_a_constant_delay(text: str, expected_ns: int) -> None:
    assert parse_latency(text) == Constant(expected_ns)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_jitter_stays_within_its_spread(middle: int, spread: int, seed: int) -> None:
    model = Jitter(middle + spread, spread)

    assert middle <= model.draw_ns(np.random.default_rng(seed)) <= middle + 2 * spread


def test_jitter_is_read_from_text() -> None:
    assert parse_latency("200ms~40ms") == Jitter(200 * NS_PER_MS, 40 * NS_PER_MS)


def test_samples_are_read_from_a_file_in_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_text('{"unit": "ms", "samples": [181.5, 20]}')

    assert parse_latency(str(path)) == Empirical((181_500_000, 20_000_000))


def test_only_measured_delays_are_drawn_and_all_of_them() -> None:
    model = Empirical((3, 5, 8))
    rng = np.random.default_rng(0)

    assert {model.draw_ns(rng) for _ in range(100)} == {3, 5, 8}


def test_the_same_seed_draws_the_same_delays() -> None:
    model = Jitter(100, 50)
    first, second = np.random.default_rng(4), np.random.default_rng(4)

    assert [model.draw_ns(first) for _ in range(20)] == [model.draw_ns(second) for _ in range(20)]


@pytest.mark.parametrize(
    "text",
    ["", "fast", "200", "-5ms", "200ms~300ms", "1ms~1ms~1ms", "2000s", f"{'9' * 400}ms", "nothing.json"],
)
def test_text_that_is_no_latency_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"slow\.delay"):
        parse_latency(text, "slow.delay")


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"unit": "ms", "samples": []}', '{"unit": "h", "samples": [1]}',
     '{"unit": "ms", "samples": [-1]}', '{"unit": "ms", "samples": ["1"]}',
     '{"unit": "ms", "samples": [1], "extra": 0}', "not json"],
)  # fmt: skip
def test_a_file_that_holds_no_samples_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "samples.json"
    path.write_text(content)

    with pytest.raises(ConfigError):
        parse_latency(str(path))


@pytest.mark.parametrize(
    ("model", "words"),
    [(Constant(200 * NS_PER_MS), "200 ms"), (Jitter(4 * NS_PER_MS, NS_PER_MS), "4 ms +- 1 ms"),
     (Empirical(tuple(one * NS_PER_MS for one in (1, 2, 9))),
      "3 samples, median 2 ms, at most 9 ms, fd98886e")],
)  # fmt: skip
def test_a_model_describes_itself(model: Constant | Jitter | Empirical, words: str) -> None:
    assert model.describe() == words


@pytest.mark.parametrize(
    ("latency", "expected_ns"),
    [(Constant(7), 7), (Jitter(40, 10), 40), (Empirical((9, 1, 5, 2, 100)), 5)],
)
def test_the_expected_delay_is_the_one_in_the_middle(latency: Latency, expected_ns: int) -> None:
    assert latency.expected_ns == expected_ns


def test_measured_delays_that_differ_describe_themselves_differently() -> None:
    one, other = Empirical((1, 4, 5, 9)), Empirical((2, 3, 5, 9))

    assert one.expected_ns == other.expected_ns
    assert one.describe() != other.describe()
    assert one.describe() == Empirical((9, 5, 4, 1)).describe()


def test_a_log_normal_delay_has_its_median_and_a_long_tail_up_to_its_largest() -> None:
    samples = np.array(log_normal(100, 0.5, 300, count=1001).samples_ns)

    assert np.median(samples) == 100
    # The logarithm is symmetric about that of the median, so the tail above is the longer one.
    assert np.quantile(samples, 0.9) == pytest.approx(100 * np.exp(0.5 * 1.2816), abs=1.0)
    assert np.quantile(samples, 0.1) == pytest.approx(100 * np.exp(-0.5 * 1.2816), abs=1.0)
    assert samples.max() == 300


def test_a_log_normal_delay_without_spread_is_constant() -> None:
    assert set(log_normal(70, 0.0, 300).samples_ns) == {70}


@pytest.mark.parametrize(
    "wrong", [(0, 0.5, 300, 10), (400, 0.5, 300, 10), (100, -0.1, 300, 10), (100, 0.5, 300, 0)]
)
def test_a_log_normal_delay_that_makes_no_sense_is_refused(wrong: tuple[int, float, int, int]) -> None:
    with pytest.raises(ValueError, match="median_ns"):
        log_normal(*wrong)
