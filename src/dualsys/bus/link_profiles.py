"""Lines that there are, by name, for `line.profile`, `dualsys link --profile` and the twin: pure data.

What is measured is mostly a round trip; half of it is the delay of each way. The bandwidth holds for each
way, so it is that of the way up, where images go. What radio links lose they send again by themselves, long
before TCP would: there it shows as jitter, and `loss` is what is left for TCP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dualsys.bus.link_model import Conditions, Schedule

ProfileName = Literal["4g", "5g", "wifi-roam", "transatlantic", "geo-satellite"]


@dataclass(frozen=True)
class Profile:
    """A line with a name.

    Attributes:
        says: What it is, in a line.
        schedule: What it is like.
        sources: Each figure, and who published it, or that it is chosen.
    """

    says: str
    schedule: Schedule
    sources: tuple[str, ...]


_OFCOM = Conditions(delay_ms=21.5, jitter_ms=10, bandwidth_mbit_s=6)
_WIFI = Conditions(delay_ms=0, jitter_ms=1.5, jitter_p99_ms=125)

PROFILES: Final[dict[ProfileName, Profile]] = {
    "4g": Profile(
        "an LTE network with some load, from a robot that moves from cell to cell",
        Schedule(
            [
                _OFCOM,
                Conditions(at_s=19.95, blackhole=True),
            ],
            repeat_s=20,
        ),
        (
            "round trip 53.1 ms on average: Ofcom, Measuring mobile broadband performance in the UK, "
            "April 2015",
            "6 Mbit/s up, the median: Huang et al., A Close Examination of Performance and Power "
            "Characteristics of 4G LTE Networks, MobiSys 2012",
            "up to 10 ms of jitter, the period of scheduling requests: 3GPP TR 36.881; "
            "Ofcom's average less half of it is the delay",
            "50 ms without any connection at a handover: 3GPP TR 36.881; every 20 s is chosen",
        ),
    ),
    "5g": Profile(
        "a public 5G network, from a robot that stays in its cell",
        Schedule([Conditions(delay_ms=7, jitter_ms=11, bandwidth_mbit_s=15)]),
        (
            "7 to 18 ms one way, from the best case down to the worst up, at up to 15 Mbit/s: Kottkamp, "
            "5G NR and LTE latency analysis in a public network, Rohde & Schwarz, August 2022; that delays "
            "between the two are equally likely is chosen",
        ),
    ),
    "wifi-roam": Profile(
        "a busy wireless network in the building of System 2, from a robot that goes about in it",
        Schedule([_WIFI, Conditions(at_s=19.6, blackhole=True)], repeat_s=20),
        (
            "round trips of 3 ms in the median and 250 ms at 99 %: Sui et al., Characterizing and Improving "
            "WiFi Latency in Large-Scale Operational Networks, MobiSys 2016; halved for each way",
            "up to 400 ms from one access point to the next: Mishra, Shin and Arbaugh, An Empirical Analysis "
            "of the IEEE 802.11 MAC Layer Handoff Process, ACM CCR 33(2), 2003; every 20 s is chosen",
        ),
    ),
    "transatlantic": Profile(
        "cables between London and New York, at the worst that an operator guarantees",
        Schedule([Conditions(delay_ms=45, jitter_ms=1, loss=0.005)]),
        (
            "round trip of 90 ms and 99.5 % of packets delivered, monthly averages: Verizon, service level "
            "agreements for transatlantic latency and packet delivery",
            "1 ms of jitter and losses one by one are chosen",
        ),
    ),
    "geo-satellite": Profile(
        "a geostationary satellite",
        Schedule([Conditions(delay_ms=332, bandwidth_mbit_s=5)]),
        (
            "round trip 664.9 ms on average over Sky Muster: ACCC, Measuring Broadband Australia, "
            "data of September 2024; physics alone takes 477 to 568 ms: Huston, Using LEOs and GEOs, "
            "APNIC 2022",
            "5 Mbit/s up: the service of 25/5 Mbit/s of that satellite",
        ),
    ),
}
