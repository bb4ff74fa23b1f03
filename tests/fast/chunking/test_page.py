"""The page on strategies says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dualsys.bundles import load_manifest
from dualsys.config_faults import in_yaml
from dualsys.fast.chunking.delay import WINDOW
from dualsys.fast.chunking.queue_aggregate import NEW_SHARE
from dualsys.fast.chunking.strategy import STRATEGIES, default_options, strategy_class
from dualsys.fast.policies.policy import ResidualHead


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs/strategies.md").read_text("utf-8")


def test_the_table_has_one_row_for_each_strategy_with_the_words_of_the_code(page: str) -> None:
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    expected = []
    for name in STRATEGIES:
        about = strategy_class(name).about
        needs = about.needs or "plain samples"
        expected.append(f"| `{name}` | {about.summary} | {about.paper} | {needs} | {about.cost} |")
    assert rows == expected


def test_each_strategy_has_a_section_that_names_all_its_options_with_their_defaults(page: str) -> None:
    told = re.findall(r"^### `(\w+)`\n\nOptions: (.*)\.\n\n(?=\w|`)", page, flags=re.MULTILINE)
    expected = []
    for name in STRATEGIES:
        options = [f"`{option}: {in_yaml(value)}`" for option, value in default_options(name).items()]
        expected.append((name, ", ".join(options) or "none"))
    assert told == expected


def test_numbers_in_the_text_are_those_of_the_code(page: str) -> None:
    assert WINDOW == 10
    assert "the largest of the last ten" in page
    shares = re.search(r"`weighted_average` takes (\S+) of the new, (.*?)\. Choose", page, flags=re.DOTALL)
    assert shares is not None
    told = {"weighted_average": float(shares[1])}
    told |= {name: float(share) for name, share in re.findall(r"`(\w+)` ([\d.]+)", shares[2])}
    assert told == NEW_SHARE


def test_the_correction_that_it_describes_is_there_and_a_trained_head_is_claimed_only_if_shipped(
    page: str, repository: Path
) -> None:
    assert f"{ResidualHead.__module__}.{ResidualHead.__name__}" in page
    shipped = load_manifest(repository / "bundles/tabletop/system1", "system1")
    assert ("No trained head is shipped" in page) == ("residual.onnx" not in shipped.files)
