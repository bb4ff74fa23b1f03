"""The planner process: opens the bundle and the addresses, runs the loop, lets go of everything."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from dualsys.bus.channel import LatestPublisher, LatestSubscriber
from dualsys.bus.handshake import PROCESS_ID, uplink_details
from dualsys.bus.sockets import ZmqContext, close_context, open_context
from dualsys.cameras.feed import Feed
from dualsys.cameras.wanted import close_feeds, feeds_of, wanted_by
from dualsys.clock import NS_PER_MS, WallClock, period_ns
from dualsys.errors import ConfigError
from dualsys.fast.chunking.strategy import make_strategy, weak_weights
from dualsys.fast.planner.contact import Contact
from dualsys.fast.planner.demand import Demand, demand_bounds
from dualsys.fast.planner.loop import PlannerLoop, Rhythm, Wiring
from dualsys.fast.planner.records import PlannerSettings
from dualsys.fast.planner.sight import FeatureSight, Vision
from dualsys.fast.planner.track import Box
from dualsys.fast.planner.uplink import Uplink, rate_bounds
from dualsys.fast.policies.policy import System1
from dualsys.messages import ControlState, LatentPacket, UplinkMode
from dualsys.recorder.planner import UplinkJournal, open_core, watch_loop
from dualsys.recorder.tap import Tap, open_service, open_tap
from dualsys.robots.registry import driver_named

if TYPE_CHECKING:
    from dualsys.config import SlowConfig, SystemConfig


def run_planner(config: SystemConfig) -> None:
    """Run the planner until SIGINT or SIGTERM.

    Args:
        config: The whole system.

    Raises:
        BundleError: A bundle is damaged or does not fit.
        MismatchError: System 2 does not fit System 1; names both values.
        BusError: An address is taken or cannot be used.
        CameraError: A camera cannot be reached, or what it delivers does not fit.
    """
    # The runtime is loaded here, so that a planner with another policy does not need it.
    from dualsys.fast.policies.onnx import open_system1
    from dualsys.fast.policies.vision import OnnxVision

    vision = None
    if config.slow.uplink == "features":
        vision = OnnxVision(config.slow.bundle, config.fast.threads)
    fast = config.fast
    serve_policy(open_system1(fast.bundle, fast.weak_bundle, fast.threads), config, vision)


def serve_policy(policy: System1, config: SystemConfig, vision: Vision | None = None) -> None:
    """As `run_planner`, with a policy of the caller's, and a vision tower where features travel.

    Raises:
        ConfigError: Features are to travel, and there is no vision tower; or the other way round.
    """
    _require_vision(policy, config.slow.uplink, vision)
    session = secrets.randbits(31) + 1
    clock = WallClock()
    strategy = make_strategy(config.fast.strategy.name, **config.fast.strategy.options)
    arm = driver_named(config.robot.driver).geometry(config.robot.options)
    settings = PlannerSettings(
        workspace=Box(arm.low_m, arm.high_m),
        open_m=arm.open_m,
        expected_delay_ns=round(config.fast.delay_ms * NS_PER_MS),
        image_encoding=config.slow.image_encoding,
        jpeg_quality=config.slow.jpeg_quality,
        latent_codec=config.slow.latent_codec,
        residual=config.fast.strategy.residual,
        noise_scale=config.fast.noise_scale,
        look_again=config.fast.look_again,
        features={} if vision is None else vision.features,
        feature_codec=config.slow.feature_codec,
    )
    context = open_context(config.protection())
    ends = config.endpoints
    contacts: list[Contact] = []
    feeds: dict[str, Feed] = {}
    sight = None if vision is None else FeatureSight(vision, clock)
    try:
        tap = open_tap(context, config, "planner", clock)
        options = config.fast.strategy.options
        core = open_core(tap, options, policy, strategy, arm.kinematics, session, config.run.seed, settings)
        details = {"weights": policy.weights, "strategy": strategy.name, "session": str(session)}
        details[PROCESS_ID] = str(os.getpid())
        if weak := weak_weights(strategy, policy):
            details["weak_weights"] = weak
        agreed = uplink_details(
            settings.uplink, settings.feature_codec, "" if vision is None else vision.weights
        )
        told = details | agreed | _told_to_system2(config)
        _, way = config.way_to_system2()
        slow = Contact(context, way.service, "System 2", session, policy.specs, told)
        contacts.append(slow)
        axes = {"axes": " ".join(arm.axes)}
        control = Contact(context, ends.control.service, "control", session, details=details | axes)
        contacts.append(control)
        wanted = wanted_by(policy.specs.observation, policy.wrist)
        feeds = feeds_of(config, wanted, context, clock)
        for feed in feeds.values():
            feed.connect()
        wiring = _wire(context, config, feeds, slow, control, tap)
        uplink, demand = uplink_of(config.slow, clock.now_ns(), tap)
        loop = PlannerLoop(core, wiring, _rhythm(config), clock, session, details, uplink, demand, sight)
        watch_loop(core, wiring, loop)
        loop.handle_signals()
        loop.run()
    finally:
        close_feeds(feeds)
        for contact in contacts:
            contact.close()
        if sight is not None:
            sight.close()
        close_context(context)


def _told_to_system2(config: SystemConfig) -> dict[str, str]:
    """How latents travel, and what a System 2 that serves several robots has to know of this one."""
    return {
        "latent_codec": config.slow.latent_codec,
        "robot_name": config.robot.name,
        "observation_rate_hz": f"{config.slow.observation_rate_hz:g}",
        "latent_soft_ms": f"{config.control.ages.latent_soft_ms:g}",
    }


def _require_vision(policy: System1, uplink: UplinkMode, vision: Vision | None) -> None:
    if (uplink == "features") != (vision is not None):
        found = "none" if vision is None else f"one of weights {vision.weights}"
        raise ConfigError(
            "slow.uplink",
            [
                f"slow.uplink: got {uplink!r} and a vision tower: {found}; expected a tower with 'features', "
                "and none with 'images'"
            ],
        )
    if vision is not None:
        policy.specs.require_equal(vision.specs)


def _wire(
    context: ZmqContext,
    config: SystemConfig,
    feeds: dict[str, Feed],
    slow: Contact,
    control: Contact,
    tap: Tap | None,
) -> Wiring:
    ends = config.endpoints
    setting, way = config.way_to_system2()
    return Wiring(
        latents=LatestSubscriber(
            context,
            way.latent,
            bind=False,
            setting=f"{setting}.latent",
            types=(LatentPacket,),
            topic=config.robot.name.encode(),
        ),
        states=LatestSubscriber(
            context, ends.control.state, bind=False, setting="endpoints.control.state", types=(ControlState,)
        ),
        cameras=feeds,
        observations=LatestPublisher(context, way.observation, bind=False, setting=f"{setting}.observation"),
        plans=LatestPublisher(context, ends.planner.plan, bind=True, setting="endpoints.planner.plan"),
        service=open_service(tap, context, ends.planner.service, setting="endpoints.planner.service"),
        slow=slow,
        control=control,
    )


def uplink_of(slow: SlowConfig, start_ns: int, tap: Tap | None) -> tuple[Uplink, Demand | None]:
    """What paces observations, and what holds back those that System 2 need not see."""
    journal = None if tap is None else UplinkJournal(tap)
    period, quality = period_ns(slow.observation_rate_hz), slow.jpeg_quality
    bounds = rate_bounds(slow) if slow.rate_control.mode == "adaptive" else None
    uplink = Uplink(period, quality, start_ns, bounds, journal)
    return uplink, Demand(demand_bounds(slow), journal) if slow.on_demand.enabled else None


def _rhythm(config: SystemConfig) -> Rhythm:
    return Rhythm(
        plan_ns=period_ns(config.fast.plan_hz),
        observation_ns=period_ns(config.slow.observation_rate_hz),
        delay_ns=round(config.fast.delay_ms * NS_PER_MS),
        # The turn of one robot among many comes when it comes; past the hard age the arm holds anyway.
        silence_ns=max(
            silence_ns(config.slow),
            round(config.control.ages.latent_hard_ms * NS_PER_MS) if config.robot.name else 0,
        ),
    )


def silence_ns(slow: SlowConfig) -> int:
    """Time without a latent after which System 2 is taken for lost: never reached while it works."""
    return round((500 + 2 * slow.worst_age_ms) * NS_PER_MS)
