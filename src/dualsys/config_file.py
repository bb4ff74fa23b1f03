"""Settings as they are written: YAML read strictly, and overrides put into it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from dualsys.config_faults import field_at, is_path, mapping_at, section_of, unknown_setting
from dualsys.errors import ConfigError


def apply_overrides(
    model: type[BaseModel], tree: dict[str, Any], overrides: Mapping[str, object]
) -> list[str]:
    """Put overrides into the tree; return a fault for each that names no setting.

    Where an override names another strategy or driver than the file does, the file's options, which belong to
    that one, are left out; options among the overrides belong to the new one.
    """
    faults: list[str] = []
    _leave_foreign_options(model, tree, overrides)
    for dotted, given in overrides.items():
        *parents, leaf = dotted.split(".")
        field = field_at(model, (*parents, leaf)) or mapping_at(model, tuple(parents))
        if field is None or section_of(field) is not None:
            faults.append(unknown_setting(model, dotted))
            continue
        branch = tree
        for name in parents:
            if not isinstance(branch.get(name), dict):
                branch[name] = {}
            branch = branch[name]
        branch[leaf] = _override_value(dotted, field.annotation, given)
    return faults


def _leave_foreign_options(
    model: type[BaseModel], tree: dict[str, Any], overrides: Mapping[str, object]
) -> None:
    for dotted, given in overrides.items():
        *parents, leaf = dotted.split(".")
        field = field_at(model, (*parents, leaf))
        if field is None or (leaf != "driver" and dotted != "fast.strategy.name"):
            continue
        section: object = tree
        for name in parents:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get(leaf, field.default) != given:
            section.pop("options", None)


def _override_value(dotted: str, annotation: object, given: object) -> object:
    if not isinstance(given, str):
        return given
    if type(None) in get_args(annotation) and (given == "null" or (not given and annotation != str | None)):
        return None
    if is_path(annotation):
        return str(Path(given).resolve())
    if annotation is str or annotation == str | None:
        # An empty text is a text, and not the lack of one: whether it may be empty is for the schema to say.
        return given
    return parse_yaml(given, f"--{dotted}")


_BOOL = "tag:yaml.org,2002:bool"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; a configuration must not.

    Only `true` and `false` are truth values, as in YAML 1.2: to the parser's YAML 1.1 `off` is one too, and
    `realtime: off` would be refused for not being a word.
    """


_UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_UniqueKeyLoader.add_implicit_resolver(_BOOL, re.compile("^(?:[Tt]rue|TRUE|[Ff]alse|FALSE)$"), list("tTfF"))


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"setting {key!r} is not a name", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"setting {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def parse_yaml(text: str, source: str) -> object:
    """Read YAML as plain data: no objects, no setting twice, only names as keys.

    Raises:
        ConfigError: It is not such YAML.
    """
    try:
        tree: object = yaml.load(text, _UniqueKeyLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        # The library knows a text and not its file, which is named already.
        told = " ".join(str(error).split()).replace('in "<unicode string>", line', "in line")
        raise ConfigError(source, [f"is not YAML that can be read: {told}"]) from error
    return tree
