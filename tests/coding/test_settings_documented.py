"""Every setting and option is in protocol/README.md, with the default that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from koda_daemon.coding.settings import Settings
from koda_daemon.host.host import DEFAULT_MODEL
from koda_daemon.host.options import OPTIONS

TEXT = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """The default that is written beside each name of the table."""
    rows = TEXT.partition(f"| {heading} | default | |\n")[2].partition("\n\n")[0].splitlines()[1:]
    found: dict[str, str] = {}
    for row in rows:
        names, defaults = (cell.strip() for cell in row.strip("| ").split(" | ")[:2])
        keys = re.findall(r"`([\w.]+)`", names)
        found.update(zip(keys, defaults.split(", ") if len(keys) > 1 else [defaults], strict=True))
    return found


def shown(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def test_the_settings_have_their_rows_and_defaults() -> None:
    wanted: dict[str, str] = {}
    for name, value in msgspec.to_builtins(Settings()).items():
        if isinstance(value, dict) and value:
            wanted |= {f"{name}.{key}": shown(part) for key, part in value.items()}
        else:
            wanted[name] = shown(DEFAULT_MODEL if name == "model" else value)
    written = {name: text if text in wanted.values() else text.strip("`") for name, text in table("setting").items()}
    assert written == wanted


def test_the_options_have_their_rows() -> None:
    assert table("option").keys() == OPTIONS.keys()
