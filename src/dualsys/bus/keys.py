"""The key store of a machine: its own CurveZMQ key, and the public keys of the machines that it talks to.

A folder with `own.key` (name and secret key, readable by its owner alone) and `allowed/NAME.pub`. A key is 32
bytes, written as 64 hexadecimal digits so that no shell trips over it. Whoever is not in `allowed` is not let
in and not connected to; nothing is learned on first use.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85

from dualsys.errors import KeyStoreError

KEY_BYTES: Final = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_MOST_FILE_BYTES = 4096
_OTHERS = 0o077
_OTHERS_WRITE = 0o022


@dataclass(frozen=True)
class OwnKey:
    """The key of this machine.

    Attributes:
        name: What other machines call it.
        public: 32 bytes, for everyone.
        secret: 32 bytes, for nobody else; never shown.
    """

    name: str
    public: bytes
    secret: bytes = field(repr=False)


class KeyStore:
    """Keys in a folder.

    Args:
        folder: The folder; it need not exist before `create`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / "own.key"
        self._allowed = folder / "allowed"

    def create(self, name: str) -> OwnKey:
        """Make the key of this machine.

        Raises:
            KeyStoreError: There is one already, the name cannot be used, or the folder cannot be written.
        """
        require_name(name)
        _, secret = zmq.curve_keypair()
        text = f"{name} {z85.decode(secret).hex()}\n"
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, self._allowed):
                folder.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
        except FileExistsError as error:
            raise KeyStoreError(
                f"{self._own} exists already: a new key would lock this machine out of wherever the old one "
                "is allowed; to replace it on purpose, delete that file first"
            ) from error
        except OSError as error:
            raise KeyStoreError(f"{self.folder} cannot be written: {error.strerror}") from error
        return self.own()

    def own(self) -> OwnKey:
        """Read the key of this machine.

        Raises:
            KeyStoreError: There is none, others could have read it, or it is damaged.
        """
        self._require_ours(self.folder, _OTHERS_WRITE, "chmod 700")
        self._require_ours(self._own, _OTHERS, "chmod 600")
        name, _, digits = _read(self._own).partition(" ")
        require_name(name)
        secret = _key_of(digits, str(self._own))
        public = zmq.curve_public(z85.encode(secret))
        return OwnKey(name, z85.decode(public), secret)

    def allow(self, name: str, digits: str) -> None:
        """Let a machine in, and connect to it. Processes that run take notice within a second.

        Args:
            name: What to call it; the name that `dualsys keys show` prints there.
            digits: Its public key, 64 hexadecimal digits.

        Raises:
            KeyStoreError: The name is taken, the key has another name or is no key, or there is no store.
        """
        require_name(name)
        public = _key_of(digits, f"the key of {name!r}")
        own = self.own()
        if public == own.public or name == own.name:
            raise KeyStoreError(
                f"{name!r} is the key of this machine ({own.name!r}), which is always allowed"
            )
        for other, key in self.allowed().items():
            if other == name and key != public:
                raise KeyStoreError(
                    f"{name!r} is allowed with another key: `dualsys keys revoke {name}` first"
                )
            if key == public and other != name:
                raise KeyStoreError(f"that key is allowed already, as {other!r}")
        # Written whole or not at all: a process may be reading the folder.
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix="new-")
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(public.hex() + "\n")
        Path(temporary).replace(self._file_of(name))

    def revoke(self, name: str) -> None:
        """Let a machine in no longer. Processes that run cut its connections within a second.

        Raises:
            KeyStoreError: It is not allowed.
        """
        require_name(name)
        try:
            self._file_of(name).unlink()
        except FileNotFoundError as error:
            known = ", ".join(sorted(self.allowed())) or "none"
            raise KeyStoreError(f"{name!r} is not allowed: allowed are {known}") from error

    def allowed(self) -> dict[str, bytes]:
        """Name and public key of every machine that is allowed, apart from this one.

        Raises:
            KeyStoreError: There is no store, others can write it, or a file is damaged.
        """
        self._require_ours(self._allowed, _OTHERS_WRITE, "chmod 700")
        found: dict[str, bytes] = {}
        for path in sorted(self._allowed.glob("*.pub")):
            self._require_ours(path, _OTHERS_WRITE, "chmod 600")
            require_name(path.stem)
            found[path.stem] = _key_of(_read(path), str(path))
        return found

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Something that changes whenever `allowed` does; cheap enough to look at twice a second.

        Raises:
            KeyStoreError: There is no store.
        """
        try:
            entries = [(entry.name, entry.stat()) for entry in os.scandir(self._allowed)]
        except OSError as error:
            raise KeyStoreError(f"{self._allowed} cannot be read: {error.strerror}") from error
        return tuple(sorted((name, stat.st_ino, stat.st_mtime_ns) for name, stat in entries))

    def _file_of(self, name: str) -> Path:
        return self._allowed / f"{name}.pub"

    def _require_ours(self, path: Path, forbidden: int, remedy: str) -> None:
        """Refuse what belongs to somebody else, or what others may read or write."""
        try:
            stat = path.stat()
        except FileNotFoundError as error:
            raise KeyStoreError(
                f"{path} does not exist: make this machine's key with `dualsys keys new NAME`"
            ) from error
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be read: {error.strerror}") from error
        if stat.st_uid != os.geteuid():
            raise KeyStoreError(f"{path} belongs to user {stat.st_uid}, expected {os.geteuid()}, this one")
        if stat.st_mode & forbidden:
            raise KeyStoreError(
                f"{path} has mode {stat.st_mode & 0o777:o}, which lets others in: {remedy} {path}"
            )


def require_name(name: str) -> str:
    """Return a name if it can name a key.

    Raises:
        KeyStoreError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise KeyStoreError(
            f"{name!r} cannot name a key: expected 1 to 64 letters, digits, - or _, "
            "beginning with a letter or digit"
        )
    return name


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_FILE_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not plain text"
        raise KeyStoreError(f"{path} cannot be read: {reason}") from error


def _key_of(digits: str, whose: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", digits):
        # The text itself is not repeated: it might be most of a secret key.
        raise KeyStoreError(
            f"{whose}: expected {2 * KEY_BYTES} hexadecimal digits, as `dualsys keys show` prints them, "
            f"got {len(digits)} signs"
        )
    return bytes.fromhex(digits)
