from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dualsys.bench.cells import MOVED_BY_S, Cell, Plan, measure, without_results
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
    [replace(CELL, event="moved"), replace(CELL, phrasing="unseen"),
     replace(CELL, settings=TwinSettings(system2_delay=Constant(300 * NS_PER_MS)))],
)  # fmt: skip
def test_whatever_decides_a_result_is_part_of_the_digest(other: Cell) -> None:
    assert other.digest(SYSTEMS) != CELL.digest(SYSTEMS)
    assert CELL.digest({**SYSTEMS, "system1": "another"}) != CELL.digest(SYSTEMS)
    assert replace(CELL, name="same").digest(SYSTEMS) == CELL.digest(SYSTEMS)


def test_moved_objects_move_while_it_matters() -> None:
    from dualsys_sim.episode import make_episode

    jobs = replace(CELL, event="moved").jobs(5, 0)
    hands = [make_episode("touch", job.seed, event="moved").hand for job in jobs]

    assert len({job.seed for job in jobs}) == 5
    assert all(hand is not None and hand.time_s <= MOVED_BY_S for hand in hands)


def test_cells_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same name"):
        measure([CELL, CELL], plan(tmp_path, 1))


def test_the_data_of_a_page_has_no_single_episodes(tmp_path: Path) -> None:
    (row,) = without_results(measure([CELL], plan(tmp_path, 1)))

    assert row["cell"] == "touch"
    assert row["successes"] == 1
    assert "results" not in row
