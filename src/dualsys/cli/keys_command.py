"""`dualsys keys`: make this machine's key, and say which machines may talk to it."""

from __future__ import annotations

from dualsys.bus.keys import KeyStore
from dualsys.cli.arguments import KeysCommand
from dualsys.errors import ConfigError


def keys(command: KeysCommand) -> None:
    """Run the command.

    Raises:
        ConfigError: A name or a key is missing, or one too many was given.
        KeyStoreError: The key store does not allow it.
    """
    store = KeyStore(command.folder.expanduser())
    given = [value for value in (command.name, command.key) if value is not None]
    match command.action, given:
        case "new", [name]:
            own = store.create(name)
            print(f"made the key {own.name!r} of this machine in {store.folder}; its secret half stays there")
            print("on each machine that talks to it, run:")
            print(f"dualsys keys allow {own.name} {own.public.hex()}")
        case "show", []:
            own = store.own()
            print(f"this machine: {own.name} {own.public.hex()}")
            for name, public in store.allowed().items():
                print(f"allowed: {name} {public.hex()}")
        case "allow", [name, key]:
            store.allow(name, key)
            print(f"{name!r} is allowed")
        case "revoke", [name]:
            store.revoke(name)
            print(f"{name!r} is no longer allowed; running processes cut its connections within a second")
        case _:
            wanted = {"new": "new NAME", "show": "show", "allow": "allow NAME KEY", "revoke": "revoke NAME"}
            raise ConfigError("command line", [f"keys: write `dualsys keys {wanted[command.action]}`"])
