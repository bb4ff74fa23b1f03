from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dualsys.bench import delay, staleness, tasks
from dualsys.bench.__main__ import BENCHES, BENCHMARKS, main
from dualsys.bench.delay_grid import MODELLED_JITTER, RECORDED_JITTER
from dualsys.twin.latency import Empirical
from dualsys.twin.pool import Source
from dualsys.twin.settings import TwinSettings


def smoke(benchmark: str, folder: Path, repository: Path) -> list[str]:
    config = repository / "configs" / "tabletop.yaml"
    return [benchmark, "--smoke", "--scripted", "--config", str(config), "--folder", str(folder)]


def test_the_task_page_says_how_to_repeat_it(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(smoke("tasks", tmp_path, repository)) == 0

    page, data = (Path(line) for line in capsys.readouterr().out.split())
    text = page.read_text()
    assert "python -m dualsys.bench tasks --smoke" in text
    assert "| touch | 100 %" in text
    assert "those are obeyed | 100 %" in text
    cells = msgspec.json.decode(data.read_bytes())
    assert {row["cell"] for row in cells["experts"]} == {"touch-plain-seen-true"}


def test_a_part_of_the_cells_leaves_the_page_of_all_alone(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, folder = tmp_path / "docs", tmp_path / "kept"
    config = repository / "configs" / "tabletop.yaml"
    part = ["tasks", "--only", "pick-plain-seen-zeroed", "--episodes", "1", "--workers", "1", "--scripted"]
    assert main([*part, "--config", str(config), "--folder", str(folder), "--output", str(output)]) == 0

    page, _ = (Path(line) for line in capsys.readouterr().out.split())
    assert page == folder / "tasks" / "part" / "tasks.md"
    assert not output.exists()
    assert "at least four blocks" in page.read_text()
    assert "| zeros | 0 %" in page.read_text()
    assert "touch" not in page.read_text()


def test_what_the_latent_is_worth_is_measured_where_a_guess_is_seldom_right() -> None:
    (section,) = (section for section in tasks.SECTIONS if "latent" in section.title)

    assert {row.latent for row in section.rows} == {"true", "zeroed", "shuffled", "other"}
    assert all(row.min_blocks == 4 for row in section.rows)


def test_the_staleness_page_has_a_figure(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(smoke("staleness", tmp_path, repository)) == 0

    page, _, drawn = (Path(line) for line in capsys.readouterr().out.split())
    assert "800 ms" in page.read_text()
    assert "staleness.png" in page.read_text()
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_the_latency_page_says_what_was_run_and_what_could_not_be(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*smoke("delay", tmp_path, repository), "--only", "around-rtc"]
    assert main(arguments) == 0

    told = capsys.readouterr()
    files = {path.name: path for path in map(Path, told.out.split())}
    drawn = {"delay-success.png", "delay-smoothness.png", "delay-reaction.png"}
    assert files.keys() == {"delay.md", "delay.html", "delay.json", "delay-episodes.json", *drawn}
    assert "2 cells of 1 episodes; about" in told.err
    page = files["delay.md"].read_text()
    assert "python -m dualsys.bench delay --smoke" in page
    assert "| `rtc_prefix` | not offered |" in page
    assert "| `around-rtc_prefix-system1-120ms` | not offered | needs prefix" in page
    assert "| `rtc` | 100 % (21 to 100) | 100 % (21 to 100) |" in page
    html = files["delay.html"].read_text()
    assert html.count("data:image/png;base64,") == 3
    data = msgspec.json.decode(files["delay-episodes.json"].read_bytes())
    cells = {row["cell"]: row for row in data["cells"]}
    assert {row["status"] for row in cells.values()} == {"measured", "not offered"}
    measured = cells["around-rtc-system1-120ms"]
    assert measured["episodes"]["success"] == [True]
    # L + s dt / 2, and up to one wrist image more.
    assert 180.0 - 5.0 < measured["episodes"]["system1_reaction_ms_mean"][0] < 180.0 + 45.0


def test_a_page_is_written_even_if_nothing_could_be_run(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*smoke("delay", tmp_path, repository), "--only", "around-rtc_prefix"]) == 0

    told = capsys.readouterr()
    page = Path(told.out.split()[0]).read_text()
    assert "around-rtc_prefix-system1-120ms: not offered: needs prefix" in told.err
    assert "| `rtc_prefix` | not offered |" in page
    assert "## How it was measured" in page


def test_delays_of_ones_own_stand_for_the_jitter(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = tmp_path / "recorded.json"
    samples.write_text('{"unit": "ms", "samples": [50, 70, 200]}')
    found: dict[str, object] = {}
    monkeypatch.setattr("dualsys.bench.delay.run", lambda *_, **options: found.update(options) or ())

    assert main([*smoke("delay", tmp_path, repository), "--system1-jitter", str(samples)]) == 0
    assert found["jitter"] == Empirical((50_000_000, 70_000_000, 200_000_000))


def test_the_jitter_can_be_a_model_and_is_recorded_by_default(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, object]] = []
    monkeypatch.setattr("dualsys.bench.delay.run", lambda *_, **options: found.append(options) or ())
    monkeypatch.setitem(BENCHMARKS, "delay", delay.run)

    assert main([*smoke("delay", tmp_path, repository), "--system1-jitter", "model"]) == 0
    assert main(smoke("delay", tmp_path, repository)) == 0
    modelled, default = found
    assert modelled["jitter"] == MODELLED_JITTER
    assert "jitter" not in default
    assert MODELLED_JITTER != RECORDED_JITTER


def test_without_a_name_every_benchmark_is_listed_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert main([]) == 0
    assert capsys.readouterr().out == text
    lines = text.splitlines()
    assert "dualsys bench NAME" in lines[0]
    named = [line.split()[0] for line in lines[2:]]
    modules = {
        "bus",
        "delay",
        "fleet",
        "jitter",
        "plan",
        "plan-delays",
        "split",
        "staleness",
        "tasks",
        "tick",
        "uplink",
    }
    assert set(named) == set(BENCHES) == modules
    assert all(len(line) <= 110 for line in lines)


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_every_benchmark_tells_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    assert "usage: python -m dualsys.bench" in capsys.readouterr().out


A_NUMBER = {
    "tasks": "--episodes",
    "staleness": "--seed",
    "delay": "--workers",
    "plan": "--rounds",
    "jitter": "--seconds",
    "tick": "--rates",
    "bus": "--rounds",
    "uplink": "--seconds",
    "split": "--scenes",
    "fleet": "--seconds",
    "plan-delays": "--most",
}
"""An option of every benchmark that takes a number."""


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_what_is_no_number_is_told_by_every_benchmark_in_the_same_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["recording", "--output", "out.json"] if name == "plan-delays" else []
    with pytest.raises(SystemExit) as left:
        main([name, *needed, A_NUMBER[name], "many"])
    assert left.value.code == 2
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"Error parsing {A_NUMBER[name]}: got 'many', expected a" in told


def test_an_unknown_benchmark_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speed"]) == 2
    error = capsys.readouterr().err
    assert "bench: 'speed' is not one of tasks, staleness, delay" in error


def test_other_bundles_than_those_of_the_configuration_can_be_named(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(repository / "configs" / "tabletop.yaml")
    arguments = ["tasks", "--smoke", "--config", config, "--folder", str(tmp_path)]
    assert main([*arguments, "--bundles", str(tmp_path / "elsewhere")]) == 2
    assert "elsewhere/system" in capsys.readouterr().err


def test_a_benchmark_of_another_arm_than_that_of_the_pages_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "other.yaml"
    config.write_text("robot: {options: {arm: xarm6}}\n")
    assert main(["tasks", "--smoke", "--config", str(config), "--folder", str(tmp_path), "--scripted"]) == 2
    assert "robot.options.arm: got 'xarm6', expected 'panda'" in capsys.readouterr().err


def test_a_weak_policy_is_part_of_the_systems_and_refused_where_no_cell_draws_from_it(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = repository / "bundles/tabletop"
    config = tmp_path / "weak.yaml"
    config.write_text(
        f"fast: {{bundle: {shipped}/system1, weak_bundle: {shipped}/system1, strategy: {{name: bid, "
        f"options: {{samples: 4, nearest: 2}}}}}}\nslow: {{bundle: {shipped}/system2}}\n"
    )
    arguments = ["--smoke", "--config", str(config), "--folder", str(tmp_path)]
    assert main(["delay", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"fast.weak_bundle: got '{shipped}/system1', expected null: no cell of delay draws from" in error
    asked: list[Source] = []
    monkeypatch.setitem(BENCHMARKS, "tasks", lambda _, plan, *__, **___: asked.append(plan.source) or ())
    for others in ([], ["--bundles", str(shipped)]):
        assert main(["tasks", *arguments, *others]) == 0
    told = [one.describe() for one in asked]
    assert told[0] == told[1]
    assert told[0]["weak_weights"] == told[0]["system1_weights"]


def test_every_cell_of_a_benchmark_has_a_name_of_its_own() -> None:
    for cells in (staleness.cells(TwinSettings()), tasks.cells(TwinSettings())):
        assert len({cell.name for cell in cells}) == len(cells)


def test_both_sweeps_of_the_staleness_benchmark_are_measured() -> None:
    found = staleness.cells(TwinSettings())

    assert len(found) == len(staleness.SCENARIOS) * (len(staleness.RATES_HZ) + len(staleness.DELAYS_MS) - 1)
    assert {cell.settings.system2_rate_hz for cell in found} == set(staleness.RATES_HZ)


@pytest.mark.parametrize("wrong", [["--episodes", "0"], ["--seed", "-1"], ["--system1-delay", "slow"]])
def test_a_wrong_option_is_an_error_that_is_told(
    wrong: list[str], tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*smoke("tasks", tmp_path, repository), *wrong]) == 2
    assert "error:" in capsys.readouterr().err
