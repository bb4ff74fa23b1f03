"""What the example uses of LeRobot, for environments without it: written to a folder as packages.

Where LeRobot is installed the tests use that instead.
"""

from __future__ import annotations

from pathlib import Path

ROBOTS = """
class RobotConfig:
    _choices = {}

    @classmethod
    def register_subclass(cls, name):
        def register(kind):
            cls._choices[name] = kind
            return kind

        return register

    @classmethod
    def get_known_choices(cls):
        return cls._choices


class Robot:
    def __init__(self, config):
        self.config = config


def make_robot_from_config(config):
    import sys

    return getattr(sys.modules[type(config).__module__], type(config).__name__.removesuffix("Config"))(config)
"""

PLUGINS = """
import importlib
import importlib.metadata


def register_third_party_plugins():
    for distribution in importlib.metadata.distributions():
        if distribution.metadata["Name"].startswith("lerobot_robot_"):
            importlib.import_module(distribution.metadata["Name"])
"""

DRACCUS = """
def decode(kind, tree):
    values = dict(tree)
    return kind.get_known_choices()[values.pop("type")](**values)
"""


def write_stand_in(folder: Path) -> None:
    """Make the packages `lerobot` and `draccus`."""
    files = {
        "lerobot/__init__.py": "",
        "lerobot/robots/__init__.py": ROBOTS,
        "lerobot/robots/broken/__init__.py": "import no_such_sdk\n",
        "lerobot/utils/__init__.py": "",
        "lerobot/utils/import_utils.py": PLUGINS,
        "draccus.py": DRACCUS,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def write_plugin(folder: Path) -> None:
    """Install the scripted robot: its module, and what tells LeRobot that it is there."""
    source = Path(__file__).with_name("lerobot_robot_scripted.py")
    (folder / source.name).write_text(source.read_text("utf-8"), encoding="utf-8")
    told = folder / "lerobot_robot_scripted-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lerobot_robot_scripted\nVersion: 1.0\n", "utf-8"
    )
