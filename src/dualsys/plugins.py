"""Drivers by name: those that come with dualsys, and those that installed packages offer by entry points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Generic, Protocol, TypeVar

from dualsys.errors import DualsysError

Option = str | int | float | bool | None
"""What an option of a driver can be; the driver itself says which."""


class Driver(Protocol):
    """What is known of a driver before it is used."""

    @property
    def says(self) -> str:
        """What it reaches, in a line for people."""
        ...

    @property
    def contract(self) -> int:
        """Version of the contract that it was written for."""
        ...

    @property
    def library(self) -> str:
        """Top-level module that it needs; empty if none."""
        ...

    @property
    def install(self) -> str:
        """How to get that library."""
        ...

    @property
    def tried(self) -> str:
        """Devices that it was tried on; empty if it never saw a real one."""
        ...

    @property
    def hardware(self) -> bool:
        """There is a device at all behind it."""
        ...


D = TypeVar("D", bound=Driver)


@dataclass(frozen=True)
class Plugins(Generic[D]):
    """The drivers of one kind.

    Attributes:
        group: Entry-point group in which packages offer theirs; it is a driver's name and points to a `kind`.
        built_in: Name to `module:object` of those that come with dualsys; imported only when asked for.
        kind: What an entry point must point to.
        setting: Where the name is told, for errors.
        contract: The version of the contract that is kept here.
        fault: Error that says what is wrong.
    """

    group: str
    built_in: Mapping[str, str]
    kind: type[D]
    setting: str
    contract: int
    fault: type[DualsysError]

    def names(self) -> tuple[str, ...]:
        """Every driver there is, in alphabetical order."""
        return tuple(sorted({*self.built_in, *(point.name for point in entry_points(group=self.group))}))

    def known(self, name: str) -> bool:
        """Whether there is a driver of that name."""
        # Installed packages are searched for other names only: it takes a while.
        return name in self.built_in or name in self.names()

    def origin_of(self, name: str) -> str:
        """Where a driver comes from: `dualsys`, or the package or packages that offer it."""
        names = [
            point.dist.name if point.dist else point.value
            for point in entry_points(group=self.group)
            if point.name == name
        ]
        return " and ".join([*(["dualsys"] if name in self.built_in else []), *names])

    def listing(self) -> Iterator[str]:
        """For people, of every driver: what it reaches, where it comes from, its library, its trials."""
        for name in self.names():
            try:
                driver = self.named(name)
            except DualsysError as error:
                # One that is broken does not hide the others.
                yield f"{name}: {error}"
                continue
            needs = "needs no library"
            if driver.library:
                there = installed(driver.library)
                how = "installed" if there else f"not installed: {driver.install or driver.library}"
                needs = f"needs {driver.library} ({how})"
            yield f"{name}: {driver.says}"
            yield f"    from {self.origin_of(name)}; {needs}; contract {driver.contract}"
            nothing = "nothing" if driver.hardware else "it is no hardware"
            yield f"    tried on hardware: {driver.tried or nothing}"

    def named(self, name: str) -> D:
        """Load a driver.

        Raises:
            DualsysError: Of the class `fault`: there is none of that name, two packages offer it, it cannot
                be loaded, or it was written for another version of the contract.
        """
        offered = [point for point in entry_points(group=self.group) if point.name == name]
        if name in self.built_in:
            offered.append(EntryPoint(name, self.built_in[name], self.group))
        if not offered:
            raise self.fault(f"{self.setting}: no driver {name!r}; there are {', '.join(self.names())}")
        if len(offered) > 1:
            origins = " and ".join(point.value for point in offered)
            raise self.fault(f"{self.setting}: {name!r} is offered by {origins}: uninstall all but one")
        try:
            driver = offered[0].load()
        except (ImportError, AttributeError) as error:
            raise self.fault(
                f"{self.setting}: {name!r} cannot be loaded from {offered[0].value}: {error}"
            ) from error
        if not isinstance(driver, self.kind):
            raise self.fault(
                f"{self.setting}: {name!r} cannot be used: {offered[0].value} is no {self.kind.__name__} but "
                f"a {type(driver).__name__}"
            )
        if driver.contract != self.contract:
            raise self.fault(
                f"{self.setting}: {name!r} was written for version {driver.contract} of the driver contract, "
                f"this is version {self.contract}: install releases of both that fit"
            )
        return driver


def installed(library: str) -> bool:
    """Whether a top-level module is there, found out without loading it; no name at all always is."""
    return not library or find_spec(library) is not None


def unknown_options(given: Mapping[str, Option], known: tuple[str, ...]) -> str:
    """What is wrong with options that a driver does not know; empty if it knows all."""
    unknown = sorted(given.keys() - set(known))
    has = f"there are {', '.join(known)}" if known else "this driver has none"
    return f"unknown {', '.join(unknown)}; {has}" if unknown else ""
