from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dualsys.bench.cells import Cell, Plan, measure, without_results
from dualsys.clock import NS_PER_MS
from dualsys.errors import ConfigError
from dualsys.twin.latency import Constant
from dualsys.twin.pool import Scripted
from dualsys.twin.settings import TwinSettings

CELL = Cell("touch", "touch", TwinSettings())
SYSTEMS = Scripted().describe()


def plan(folder: Path, episodes: int) -> Plan:
    return Plan(Scripted(), folder, episodes, seed=10_000_000, workers=1)


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_an_interrupted_cell_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = measure([CELL], plan(tmp_path / "whole", 2))[0].report
    measure([CELL], plan(tmp_path / "parts", 1))
    kept = only_file(tmp_path / "parts")
    finished = kept.read_bytes()
    kept.write_bytes(finished + b'{"task": "touch", "se')

    assert measure([CELL], plan(tmp_path / "parts", 2))[0].report == whole
    assert kept.read_bytes().startswith(finished)
    assert kept.read_bytes() == only_file(tmp_path / "whole").read_bytes()


def test_what_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure([CELL], plan(tmp_path, 1))
    monkeypatch.setattr("dualsys.twin.pool.run_episode", lambda *_, **__: pytest.fail("it was run again"))

    assert measure([CELL], plan(tmp_path, 1)) == first


def test_a_damaged_file_is_named_and_kept(tmp_path: Path) -> None:
    measure([CELL], plan(tmp_path, 1))
    kept = only_file(tmp_path)
    kept.write_text('{"task": "touch"}\n')

    with pytest.raises(ConfigError, match=kept.name):
        measure([CELL], plan(tmp_path, 1))
    assert kept.read_text() == '{"task": "touch"}\n'


@pytest.mark.parametrize(
    "other",
    [replace(CELL, event="moved"), replace(CELL, phrasing="unseen"), replace(CELL, min_blocks=4),
     replace(CELL, settings=TwinSettings(system2_delay=Constant(300 * NS_PER_MS)))],
)  # fmt: skip
def test_whatever_decides_a_result_is_part_of_the_digest(other: Cell) -> None:
    assert other.digest(SYSTEMS) != CELL.digest(SYSTEMS)
    assert CELL.digest({**SYSTEMS, "system1": "another"}) != CELL.digest(SYSTEMS)
    assert replace(CELL, name="same").digest(SYSTEMS) == CELL.digest(SYSTEMS)


def test_a_cell_runs_its_own_episodes_by_ascending_seed() -> None:
    jobs = replace(CELL, event="moved", phrasing="unseen", min_blocks=4).jobs(3, 7)

    assert [job.seed for job in jobs] == [7, 8, 9]
    assert {(job.task, job.event, job.phrasing, job.min_blocks) for job in jobs} == {
        ("touch", "moved", "unseen", 4)
    }


def test_a_cell_with_a_share_runs_that_part_of_the_episodes_and_at_least_one() -> None:
    half = replace(CELL, share=0.5)
    assert [job.seed for job in half.jobs(4, 7)] == [7, 8]
    assert [half.part_of(episodes) for episodes in (100, 2, 1)] == [50, 1, 1]
    assert half.digest(SYSTEMS) == CELL.digest(SYSTEMS)


def test_blocks_that_are_asked_for_are_on_the_table(tmp_path: Path) -> None:
    three = measure([CELL], plan(tmp_path, 1))[0].report
    five = measure([replace(CELL, name="crowded", min_blocks=5)], plan(tmp_path, 1))[0].report

    assert (three.min_blocks, five.min_blocks) == (3, 5)
    assert five.results[0].min_blocks == 5
    assert five.results[0].trace_sha256 != three.results[0].trace_sha256


def test_cells_are_chosen_by_how_their_names_begin(tmp_path: Path) -> None:
    cells = [replace(CELL, name=name) for name in ("touch-plain", "pick-plain", "pick-moved", "follow-plain")]
    whole = plan(tmp_path, 1)

    assert whole.choose(cells) == cells
    assert replace(whole, only=("pick-", "follow")).choose(cells) == cells[1:]
    with pytest.raises(ConfigError, match=r"no cell begins with 'juggle'; there are touch-plain, pick-plain"):
        replace(whole, only=("pick", "juggle")).choose(cells)


def test_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same name"):
        measure([CELL, CELL], plan(tmp_path, 1))


def test_the_data_of_a_page_has_no_single_episodes(tmp_path: Path) -> None:
    (row,) = without_results(measure([CELL], plan(tmp_path, 1)))

    assert row["cell"] == "touch"
    assert row["successes"] == 1
    assert "results" not in row
