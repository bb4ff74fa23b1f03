"""Rules of the key store."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from dualsys.bus.keys import KEY_BYTES, KeyStore
from dualsys.errors import KeyStoreError


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A store with a key of its own."""
    store = KeyStore(tmp_path / "keys")
    store.create("edge")
    return store


def another_key() -> bytes:
    return z85.decode(zmq.curve_keypair()[0])


def test_a_new_key_is_a_pair_that_only_its_owner_can_read(store: KeyStore) -> None:
    own = store.own()
    assert own.name == "edge"
    assert len(own.public) == len(own.secret) == KEY_BYTES
    assert z85.decode(zmq.curve_public(z85.encode(own.secret))) == own.public
    assert (store.folder / "own.key").stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o077 == 0
    assert (store.folder / "allowed").stat().st_mode & 0o077 == 0


def test_two_keys_differ(store: KeyStore, tmp_path: Path) -> None:
    assert KeyStore(tmp_path / "other").create("edge").secret != store.own().secret


def test_a_second_key_never_replaces_the_first(store: KeyStore) -> None:
    before = store.own()
    with pytest.raises(KeyStoreError, match="exists already"):
        store.create("edge")
    assert store.own() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_secret_key_that_others_can_touch_is_refused(store: KeyStore, mode: int) -> None:
    (store.folder / "own.key").chmod(mode)
    with pytest.raises(KeyStoreError, match=rf"has mode {mode:o}.*chmod 600"):
        store.own()


def test_a_folder_that_others_can_write_is_refused(store: KeyStore) -> None:
    store.folder.chmod(0o770)
    with pytest.raises(KeyStoreError, match="chmod 700"):
        store.own()
    store.folder.chmod(0o700)
    (store.folder / "allowed").chmod(0o777)
    with pytest.raises(KeyStoreError, match="chmod 700"):
        store.allowed()


def test_keys_of_another_user_are_refused(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(KeyStoreError, match=f"belongs to user {me}"):
        store.own()


def test_what_is_allowed_can_be_revoked_and_allowed_again(store: KeyStore) -> None:
    key = another_key()
    before = store.stamp()
    store.allow("cloud", key.hex())
    assert store.allowed() == {"cloud": key}
    assert store.stamp() != before
    store.allow("cloud", key.hex().upper())
    store.revoke("cloud")
    assert store.allowed() == {}
    store.allow("cloud", another_key().hex())
    assert list(store.allowed()) == ["cloud"]


def test_an_allowed_name_does_not_silently_get_another_key(store: KeyStore) -> None:
    store.allow("cloud", another_key().hex())
    with pytest.raises(KeyStoreError, match="`dualsys keys revoke cloud` first"):
        store.allow("cloud", another_key().hex())


def test_a_key_has_one_name_so_that_revoking_it_revokes_it(store: KeyStore) -> None:
    key = another_key()
    store.allow("cloud", key.hex())
    with pytest.raises(KeyStoreError, match="allowed already, as 'cloud'"):
        store.allow("other", key.hex())


def test_the_own_key_need_not_be_allowed(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="key of this machine"):
        store.allow("me", store.own().public.hex())
    with pytest.raises(KeyStoreError, match="key of this machine"):
        store.allow("edge", another_key().hex())


def test_what_is_not_allowed_cannot_be_revoked(store: KeyStore) -> None:
    store.allow("cloud", another_key().hex())
    with pytest.raises(KeyStoreError, match="'clod' is not allowed: allowed are cloud"):
        store.revoke("clod")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a b", "-a", "a" * 65, "ä", "a\n"])
def test_a_name_that_is_no_plain_word_is_refused(store: KeyStore, name: str) -> None:
    with pytest.raises(KeyStoreError, match=r"cannot name a key: .* beginning with a letter or digit"):
        store.allow(name, another_key().hex())
    with pytest.raises(KeyStoreError, match="cannot name a key"):
        store.revoke(name)


@pytest.mark.parametrize("digits", ["", "0" * 63, "0" * 65, "g" * 64, "0x" + "0" * 62])
def test_what_is_no_key_is_refused_and_not_repeated(store: KeyStore, digits: str) -> None:
    with pytest.raises(
        KeyStoreError, match="expected 64 hexadecimal digits, as `dualsys keys show`"
    ) as caught:
        store.allow("cloud", digits)
    assert not digits or digits not in str(caught.value)
    assert store.allowed() == {}


@pytest.mark.parametrize(
    "content", [b"", b"edge", b"edge zz\n", b"\xff\xfe", b"x" * 10_000, pickle.dumps({})]
)
def test_a_damaged_key_file_is_refused(store: KeyStore, content: bytes) -> None:
    (store.folder / "own.key").write_bytes(content)
    with pytest.raises(KeyStoreError):
        store.own()
    (store.folder / "allowed" / "cloud.pub").write_bytes(content)
    with pytest.raises(KeyStoreError):
        store.allowed()


def test_a_store_that_does_not_exist_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="`dualsys keys new NAME`"):
        KeyStore(tmp_path / "none").own()
    with pytest.raises(KeyStoreError, match="`dualsys keys new NAME`"):
        KeyStore(tmp_path / "none").allow("cloud", another_key().hex())
