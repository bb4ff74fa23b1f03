"""`dualsys twin`: success under latency, on the digital twin."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console

from dualsys.cli.arguments import TwinCommand, merged
from dualsys.cli.rates import parse_rate_hz
from dualsys.config import load_config
from dualsys.errors import ConfigError
from dualsys.robots.registry import driver_named
from dualsys.telemetry.files import require_writable
from dualsys.twin.evaluate import FIRST_SEED, evaluate
from dualsys.twin.latency import parse_latency
from dualsys.twin.settings import SYSTEM1_DELAY

_OPTIONS = {
    "run.episodes": "--episodes",
    "run.seed": "--seed",
    "run.phrasing": "--phrasing",
    "run.event": "--event",
    "fast.delay_ms": "--system1-delay",
}
"""What is a setting of a live run, and an option here."""

_LEFT_OUT = (
    "run.instruction",
    "run.episode_timeout_s",
    "run.line",
    "record.",
    "control.rate_hz",
    "control.smoothing",
    "control.limits.workspace.",
    "slow.rate_control.",
)
"""What would change a live run, and is not in the twin: settings, and sections of them."""


def twin(command: TwinCommand, overrides: Mapping[str, object]) -> int:
    """Run the episodes, print what they come to, and write the report where one is wanted.

    Returns:
        Exit code 0: a low success rate is a result, not an error.

    Raises:
        ConfigError: A setting was given that the twin does not look at, the configuration is not good, or
            the report cannot be written.
    """
    faults = [
        f"--{name}: got {overrides[name]!r}, which the twin does not look at; give it as {option}"
        for name, option in _OPTIONS.items()
        if name in overrides
    ]
    faults += [
        f"--{name}: got {value!r}, which the twin does not look at; leave it out, or try it in a live run"
        for name, value in overrides.items()
        if name in _LEFT_OUT or name.startswith(tuple(part for part in _LEFT_OUT if part.endswith(".")))
    ]
    if faults:
        raise ConfigError("command line", faults)
    chosen: dict[str, object] = {}
    if command.strategy is not None:
        chosen["fast.strategy.name"] = command.strategy
    if command.residual:
        chosen["fast.strategy.residual"] = True
    if command.task is not None:
        chosen["run.task"] = command.task
    config = load_config(command.config, merged(chosen, overrides))
    driver = driver_named(config.robot.driver)
    if driver.simulated and not driver.at_table:
        remedy = f"`python -m dualsys.twin.environment {command.config}` runs it in simulated time"
        raise ConfigError(
            str(command.config),
            [f"robot.driver: {config.robot.driver!r} is not at the table of the twin; {remedy}"],
        )
    if command.json is not None:
        require_writable(command.json, "--json")
    system2_delay, system1_delay = command.system2_delay, command.system1_delay
    rate = command.system2_rate
    report = evaluate(
        config,
        config.run.task,
        episodes=command.episodes,
        seed=FIRST_SEED if command.seed is None else command.seed,
        workers=command.workers,
        system2_delay=None if system2_delay is None else parse_latency(system2_delay, "--system2-delay"),
        system2_rate_hz=None if rate is None else parse_rate_hz(rate, "--system2-rate"),
        system1_delay=SYSTEM1_DELAY
        if system1_delay is None
        else parse_latency(system1_delay, "--system1-delay"),
        phrasing=command.phrasing,
        event=command.event,
        latent=command.latent,
        scripted=command.scripted,
    )
    console = Console()
    console.print(report.line(), markup=False, highlight=False, soft_wrap=True)
    for name, value in report.settings.items():
        console.print(f"  {name}: {value}", markup=False, highlight=False, soft_wrap=True)
    if command.json is not None:
        report.write(command.json)
        console.print(f"report {command.json}", markup=False, highlight=False, soft_wrap=True)
    return 0
