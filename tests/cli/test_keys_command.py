"""Rules of `dualsys keys`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.bus.keys import KeyStore
from dualsys.cli import main


def keys(folder: Path, *words: str) -> int:
    """Run `dualsys keys` on a key store."""
    return main(["keys", *words, "--folder", str(folder)])


def test_two_machines_are_made_known_to_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud, edge = tmp_path / "cloud", tmp_path / "edge"
    assert keys(cloud, "new", "cloud") == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert keys(edge, "new", "edge") == 0
    # The line that is printed is the line to run there.
    assert keys(edge, *advice.split("dualsys keys ")[1].split()) == 0
    assert KeyStore(edge).allowed() == {"cloud": KeyStore(cloud).own().public}
    capsys.readouterr()
    assert keys(edge, "show") == 0
    shown = capsys.readouterr().out
    assert f"this machine: edge {KeyStore(edge).own().public.hex()}" in shown
    assert f"allowed: cloud {KeyStore(cloud).own().public.hex()}" in shown
    assert keys(edge, "revoke", "cloud") == 0
    assert KeyStore(edge).allowed() == {}


def test_a_secret_key_is_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("new", "edge"), ("show",), ("new", "edge"), ("allow", "x", "y"), ("revoke", "x")):
        keys(tmp_path / "keys", *words)
    captured = capsys.readouterr()
    secret = (tmp_path / "keys" / "own.key").read_text().split()[1]
    assert secret not in captured.out + captured.err
    assert secret not in repr(KeyStore(tmp_path / "keys").own())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("new",), "write `dualsys keys new NAME`"),
        (("show", "edge"), "write `dualsys keys show`"),
        (("allow", "edge"), "write `dualsys keys allow NAME KEY`"),
        (("revoke",), "write `dualsys keys revoke NAME`"),
        (("show",), "make this machine's key with `dualsys keys new NAME`"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert keys(tmp_path / "keys", *words) == 2
    assert told in capsys.readouterr().err
