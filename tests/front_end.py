"""What the front end knows of the traits, read from its TypeScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anywidget

SOURCES = Path(__file__).resolve().parents[1] / "js" / "src"


def interface_fields(file: str, interface: str) -> set[str]:
    """The fields of an interface in js/src, and those of what it extends, there or where the file imports it from."""
    source = (SOURCES / file).read_text()
    found = re.search(rf"\binterface {interface}(?: extends ([\w, ]+))? \{{\n(.*?)\n\}}", source, re.DOTALL)
    assert found is not None, f"{file} has no interface {interface}"
    fields = set(re.findall(r"^ {2}(\w+):", found[2], re.MULTILINE))
    for base in re.findall(r"\w+", found[1] or ""):
        imported = re.search(rf'^import .*\b{base}\b.* from "(.*)";$', source, re.MULTILINE)
        inherited = interface_fields(f"{Path(file).parent / imported[1]}.ts" if imported else file, base)
        assert not fields & inherited, f"{interface} has fields that {base} has already"
        fields |= inherited
    return fields


def sent_traits(widget: type[Any]) -> set[str]:
    """The traits of a widget that its front end is sent, without those that are the matter of anywidget."""
    names = set(widget.class_traits(sync=True)) - set(anywidget.AnyWidget.class_traits(sync=True))
    return {name for name in names if not name.startswith("_")}
