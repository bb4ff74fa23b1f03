"""Rules of the configuration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.config import SystemConfig, load_config
from dualsys.config_faults import allowed, settings_of, unit_of
from dualsys.errors import ConfigError
from dualsys.robots.gymnasium import EnvironmentOptions
from dualsys.robots.registry import BUILT_IN


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A configuration that says nothing but its name."""
    path = tmp_path / "plain.yaml"
    path.write_text("name: plain\n", encoding="utf-8")
    return path


def faults_of(path: Path, overrides: dict[str, object] | None = None) -> tuple[str, ...]:
    """The faults that loading reports."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value.faults


@pytest.mark.parametrize("name", ["tabletop.yaml", "tabletop_full_speed.yaml"])
def test_the_shipped_configurations_load(repository: Path, name: str) -> None:
    config = load_config(repository / "configs" / name)
    assert config.slow.bundle == repository / "bundles/tabletop/system2"
    assert config.run.folder == repository / "runs"


def test_the_shipped_configuration_has_the_documented_timing(repository: Path) -> None:
    config = load_config(repository / "configs/tabletop.yaml")
    assert (config.slow.delay_ms, config.slow.rate_hz, config.slow.observation_rate_hz) == (200, 5, 10)
    assert (config.control.rate_hz, config.fast.plan_hz) == (250, 60)
    assert (config.fast.strategy.name, config.fast.strategy.options) == (
        "rtc",
        {"pull": "path", "mask": "linear"},
    )
    assert config.slow.worst_age_ms == 500


def test_every_fault_is_reported_at_once_with_path_value_unit_and_range(plain: Path) -> None:
    faults = faults_of(
        plain, {"slow.delay_ms": -5, "run.episodes": 0, "fast.strategy.name": "rtx", "sim.gui": "2"}
    )
    assert len(faults) == 4
    text = "\n".join(faults)
    assert "slow.delay_ms: got -5 ms, expected a number, 0 to 60000 ms" in text
    assert "run.episodes: got 0, expected a whole number, 1 to 100000" in text
    assert "fast.strategy.name: got 'rtx', expected 'synchronous' or 'naive_async'" in text
    assert "sim.gui: got 2, expected true or false" in text


def test_an_unknown_driver_is_answered_with_the_known_ones(plain: Path) -> None:
    (fault,) = faults_of(plain, {"robot.driver": "toaster"})
    assert fault.startswith("robot.driver: got 'toaster', expected one of ")
    assert f"expected one of {', '.join(sorted(BUILT_IN))}; an installed package" in fault
    assert "'dualsys.robots'" in fault


def test_a_driver_of_an_installed_package_is_accepted(plain: Path, driver_package: str) -> None:
    assert load_config(plain, {"robot.driver": driver_package}).robot.driver == driver_package
    known = ", ".join(sorted([*BUILT_IN, driver_package]))
    assert (
        f"expected one of {known}; an installed package" in faults_of(plain, {"robot.driver": "toaster"})[0]
    )


def test_an_unknown_setting_is_refused_and_a_close_one_suggested(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text("slow: {delay_sm: 100}\ncontroll: {}\n", encoding="utf-8")
    assert faults_of(path) == (
        "slow.delay_sm: is not a setting; did you mean slow.delay_ms?",
        "controll: is not a setting; did you mean control?",
    )
    sections = "name, endpoints, security, robot, cameras, slow, line, fleet, fast, control, sim, run, record"
    assert faults_of(path, {"xyz": 1})[0] == f"xyz: is not a setting; sections: {sections}"


def test_a_setting_named_without_its_section_is_found(plain: Path) -> None:
    assert faults_of(plain, {"plan_hz": 3}) == ("plan_hz: is not a setting; did you mean fast.plan_hz?",)


def test_options_of_the_chunk_strategy_are_checked_by_the_strategy(plain: Path) -> None:
    config = load_config(plain, {"fast.strategy.options.beta": "3", "fast.strategy.options.mask": "linear"})
    assert config.fast.strategy.options == {"beta": 3, "mask": "linear"}
    config = load_config(plain, {"fast.strategy.name": "vote", "fast.strategy.options": "{committee: 4}"})
    assert config.fast.strategy.options == {"committee": 4}
    text = "\n".join(faults_of(plain, {"fast.strategy.options": "{gamma: 1, beta: -1, mask: cosine}"}))
    assert "fast.strategy.options.gamma: rtc has no such option, it has beta, mask, execution_horizon" in text
    assert "fast.strategy.options.beta: expected a number from 0 to 1000, got -1" in text
    assert "fast.strategy.options.mask: expected one of exp, linear, ones, zeros, got 'cosine'" in text


def test_options_of_another_strategy_are_refused_and_not_ignored(plain: Path) -> None:
    overrides = {"fast.strategy.name": "naive_async", "fast.strategy.options.beta": 3}
    (fault,) = faults_of(plain, overrides)
    assert fault == ("fast.strategy.options.beta: naive_async has no such option, it has execution_horizon")


def test_options_in_the_file_belong_to_what_the_file_names(tmp_path: Path) -> None:
    path = tmp_path / "written.yaml"
    path.write_text(
        "fast: {strategy: {options: {beta: 3}}}\n"
        "robot: {driver: pybullet, options: {arm: iiwa14}}\n"
        "cameras: {wrist: {driver: link, options: {number: 1}}}\n",
        encoding="utf-8",
    )
    overrides: dict[str, object] = {"fast.strategy.name": "rtc", "robot.driver": "pybullet"}
    same = load_config(path, overrides)
    assert (same.fast.strategy.options, same.robot.options) == ({"beta": 3}, {"arm": "iiwa14"})
    other = load_config(
        path,
        {
            "fast.strategy.options.execution_horizon": "4",
            "fast.strategy.name": "naive_async",
            "robot.driver": "feetech",
            "cameras.wrist.driver": "opencv",
        },
    )
    assert other.fast.strategy.options == {"execution_horizon": 4}
    assert (other.robot.options, other.cameras["wrist"].options) == ({}, {})


def test_a_section_cannot_be_overridden_as_a_whole(plain: Path) -> None:
    assert "slow: is not a setting" in faults_of(plain, {"slow": "{}"})[0]


@pytest.mark.parametrize("value", ["yes please", "true", "[1]", ".nan", ".inf"])
def test_a_number_is_never_made_of_something_else(plain: Path, value: str) -> None:
    assert faults_of(plain, {"slow.delay_ms": value})[0].startswith("slow.delay_ms: got ")


def test_overrides_are_read_as_yaml_and_win_over_the_file(plain: Path) -> None:
    config = load_config(plain, {"slow.delay_ms": "300", "slow.rate_hz": "null", "run.instruction": "pick 2"})
    assert (config.slow.delay_ms, config.slow.rate_hz, config.run.instruction) == (300, None, "pick 2")


def test_an_empty_text_is_a_text_and_not_the_lack_of_one(plain: Path) -> None:
    (fault,) = faults_of(plain, {"run.instruction": ""})
    expected = "run.instruction: got '', expected text that is not empty, or null (what to say; null: "
    assert fault.startswith(expected)
    assert load_config(plain, {"run.instruction": "null", "slow.rate_hz": ""}).run.instruction is None


def test_off_is_a_word_and_true_a_truth_value(tmp_path: Path, plain: Path) -> None:
    assert load_config(plain, {"control.realtime": "off"}).control.realtime == "off"
    path = tmp_path / "written.yaml"
    path.write_text("control: {realtime: off}\nrecord: {enabled: true}\n", encoding="utf-8")
    config = load_config(path)
    assert (config.control.realtime, config.record.enabled) == ("off", True)
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path) == config


def test_paths_in_the_file_are_relative_to_it_and_overrides_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "configs"
    inner.mkdir()
    path = inner / "a.yaml"
    path.write_text("slow: {bundle: models/two}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = load_config(path, {"fast.bundle": "one"})
    assert config.slow.bundle == inner / "models/two"
    assert config.fast.bundle == tmp_path / "one"
    assert config.run.folder == tmp_path / "runs"
    config = load_config(path, {"record.file": "a.mcap", "line.script": "null"})
    assert (config.record.file, config.line.script) == (tmp_path / "a.mcap", None)


def test_a_weak_bundle_that_no_strategy_draws_from_is_refused(plain: Path) -> None:
    weak: dict[str, object] = {"fast.weak_bundle": "/models/early"}
    for name, options, told in (
        ("rtc", {}, "'rtc' draws nothing from a weak policy"),
        ("bid", {}, "'bid' with nearest 0 draws nothing"),
        ("bid", {"nearest": 0, "samples": 4}, "'bid' with nearest 0 draws nothing"),
    ):
        (fault,) = faults_of(plain, weak | {"fast.strategy.name": name, "fast.strategy.options": options})
        assert fault.startswith("fast.weak_bundle: got '/models/early', expected null: ")
        assert told in fault
        assert "set it to null, or fast.strategy.name to 'bid' and fast.strategy.options.nearest abo" in fault
    used = load_config(plain, weak | {"fast.strategy.name": "bid", "fast.strategy.options": {"nearest": 3}})
    assert used.fast.weak_bundle == Path("/models/early")


def test_the_effective_configuration_loads_to_the_same(plain: Path, tmp_path: Path) -> None:
    config = load_config(plain, {"slow.delay_ms": 1, "fast.strategy.options.mask": "linear"})
    weak = {"fast.strategy.name": "bid", "fast.strategy.options.nearest": 2, "fast.weak_bundle": "early"}
    again = tmp_path / "elsewhere" / "again.yaml"
    again.parent.mkdir()
    for one in (config, load_config(plain, weak)):
        again.write_text(one.to_yaml(), encoding="utf-8")
        assert load_config(again) == one


@pytest.mark.fault_row(46)
@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ({"slow.delay_ms": 1500}, "control.ages.latent_soft_ms"),
        ({"control.ages.latent_soft_ms": 3000}, "control.ages.latent_hard_ms"),
        ({"slow.rate_hz": 0.5}, "control.ages.latent_hard_ms"),
        ({"fast.delay_ms": 480}, "control.ages.plan_hard_ms"),
        ({"control.ages.reading_hard_ms": 5}, "control.ages.reading_hard_ms"),
        ({"control.ages.gap_hard_ms": 5}, "control.ages.gap_hard_ms"),
        ({"sim.watchdog_ms": 5}, "sim.watchdog_ms"),
        ({"fast.plan_hz": 300}, "fast.plan_hz"),
        ({"control.state_rate_hz": 500}, "control.state_rate_hz"),
        ({"slow.rate_hz": 20}, "slow.rate_hz"),
        ({"endpoints.slow.latent": "tcp://127.0.0.1:7400"}, "endpoints.slow.latent"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    plain: Path, overrides: dict[str, object], path: str
) -> None:
    faults = faults_of(plain, overrides)
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}: got ")


@pytest.mark.parametrize(
    "address",
    [
        "udp://127.0.0.1:7000",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:70000",
        "7000",
        "ipc://x",
    ],
)
def test_what_is_no_address_is_refused(plain: Path, address: str) -> None:
    (fault,) = faults_of(plain, {"endpoints.slow.latent": address, "security.slow": "cloud"})
    assert "expected tcp://127.0.0.1:PORT with a port from 1 to 65535" in fault


FOREIGN = ["tcp://0.0.0.0:7000", "tcp://*:7000", "tcp://10.0.0.5:7000", "tcp://cloud:7000", "tcp://[::]:7000"]


@pytest.mark.parametrize("address", [*FOREIGN, "tcp://127.0.0.1.example.org:7000"])
@pytest.mark.parametrize(("setting", "owner"), [("slow.latent", "slow"), ("control.service", "control")])
def test_an_address_that_others_can_reach_needs_keys(
    plain: Path, address: str, setting: str, owner: str
) -> None:
    (fault,) = faults_of(plain, {f"endpoints.{setting}": address})
    assert fault.startswith(f"endpoints.{setting}: got {address!r}, expected an address of this machine")
    assert (
        f"`dualsys keys new NAME` there, `dualsys keys allow` on both sides, and security.{owner}: NAME"
        in fault
    )
    config = load_config(plain, {f"endpoints.{setting}": address, f"security.{owner}": "cloud"})
    assert config.protection().servers[address] == "cloud"


def test_recordings_never_leave_the_machine(plain: Path) -> None:
    (fault,) = faults_of(plain, {"endpoints.recorder.input": "tcp://0.0.0.0:7440"})
    assert fault.endswith("expected an address of this machine, such as tcp://127.0.0.1:PORT")


def test_without_keys_nothing_is_protected(plain: Path) -> None:
    assert load_config(plain).protection().servers == {}


def test_naming_a_key_protects_every_address_of_that_owner_wherever_it_is(plain: Path) -> None:
    config = load_config(plain, {"security.slow": "cloud", "security.keys": "/etc/keys"})
    assert set(config.protection().servers) == set(config.endpoints.slow.model_dump().values())
    assert config.protection().keys == Path("/etc/keys")


@pytest.mark.parametrize("name", ["../x", "a b", "-a"])
def test_a_key_is_named_by_a_plain_word(plain: Path, name: str) -> None:
    assert faults_of(plain, {"security.slow": name})[0].startswith("security.slow: got ")


def test_the_folder_of_keys_is_in_the_home_folder_by_default(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load_config(plain).security.keys == tmp_path / "home/.config/dualsys/keys"


def test_ipc_addresses_are_allowed_up_to_the_length_that_the_kernel_takes(plain: Path) -> None:
    longest = "ipc:///" + "a" * 106
    assert load_config(plain, {"endpoints.slow.latent": longest}).endpoints.slow.latent == longest
    (fault,) = faults_of(plain, {"endpoints.slow.latent": longest + "a"})
    assert fault.startswith("endpoints.slow.latent: ")
    assert "107" in fault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected settings such as 'name: tabletop', and found none"),
        ("- 1\n", "expected settings such as"),
        ("a: [", "is not YAML"),
        ("name: a\nname: b\n", "setting 'name' is given twice in line 2, column 1"),
        ("1: a\n", "setting 1 is not a name"),
        ("name: !!python/object:os.system x\n", "is not YAML"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert expected in faults_of(path)[0]


def test_a_file_that_is_not_there_or_not_text_is_an_error_that_says_so(tmp_path: Path) -> None:
    assert "No such file" in faults_of(tmp_path / "none.yaml")[0]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in faults_of(binary)[0]


def test_every_setting_has_a_description_and_every_number_a_range() -> None:
    for path, field in settings_of(SystemConfig).items():
        assert field.description, path
        if field.annotation in (int, float):
            assert " to " in allowed(path, field), path
        if field.annotation is float and not path.endswith(
            ("fraction", "scale", "beta", "decay", "line.loss", "line.burst")
        ):
            assert unit_of(path), f"{path}: the name of a setting says its unit"


def test_the_default_of_every_section_is_in_its_own_range() -> None:
    # Taken apart and put together again, so that every value is looked at, as if it had been given.
    assert SystemConfig.model_validate(SystemConfig().model_dump()) == SystemConfig()


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(value=_TREES, path=st.sampled_from([*sorted(settings_of(SystemConfig)), "slow", "x", ""]))
def test_any_value_is_accepted_or_reported_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, value: object, path: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text("name: fuzz\n", encoding="utf-8")
    with suppress(ConfigError):
        load_config(file, {path: value})


def test_bounds_of_the_uplink_must_leave_room(plain: Path) -> None:
    adaptive = {"slow.rate_control.mode": "adaptive", "slow.image_encoding": "jpeg"}
    faults = faults_of(
        plain,
        {**adaptive, "slow.rate_control.least_rate_hz": 11, "slow.rate_control.least_jpeg_quality": 95},
    )
    text = "\n".join(faults)
    assert "slow.rate_control.least_rate_hz: got 11 Hz, expected at most slow.observation_rate_hz" in text
    assert "slow.rate_control.least_jpeg_quality: got 95, expected at most slow.jpeg_quality (90)" in text
    (fault,) = faults_of(plain, {**adaptive, "slow.rate_control.least_rate_hz": 0.5})
    assert "control.ages.latent_hard_ms" in fault
    assert "slow.rate_control" in fault


def test_system_2_on_demand_may_not_make_latents_so_old_that_the_arm_slows_down(plain: Path) -> None:
    (fault,) = faults_of(plain, {"slow.on_demand.enabled": True, "slow.on_demand.pause_ms": 500})
    assert "slow.on_demand.pause_ms: got 500 ms, expected less than 500 ms" in fault
    assert "control.ages.latent_soft_ms (1000 ms)" in fault
    config = load_config(plain, {"slow.on_demand.enabled": True, "slow.on_demand.pause_ms": 499})
    assert config.slow.worst_age_ms == 999


@pytest.mark.parametrize("task", ["reach", "pick"])
def test_the_cameras_of_a_drawn_environment_are_told_in_the_size_that_is_drawn(
    repository: Path, task: str
) -> None:
    config = load_config(repository / f"configs/panda_gym_{task}.yaml")
    options = EnvironmentOptions.of(config.robot.options)
    height, width = (options.make[f"render_{side}"] for side in ("height", "width"))
    for name, views in options.cameras.items():
        told = config.cameras[name]
        assert (told.height, told.width) == (height, len(views) * int(width or 0)), name


@pytest.mark.parametrize("setting", ["run.video_hz", "sim.camera_fixed_hz", "sim.camera_wrist_hz"])
def test_a_picture_comes_every_ten_seconds_at_least(plain: Path, setting: str) -> None:
    load_config(plain, {setting: 0.1})
    with pytest.raises(ConfigError, match=rf"{setting}: got 0\.0001 Hz, expected a number, 0\.1 to "):
        load_config(plain, {setting: 0.0001})
