"""What may be set of a provider is in protocol/README.md, with the defaults that it has."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from koda_daemon.ai.checks import _FURTHER, _OPTIONS
from koda_daemon.ai.plugins import BUILT_IN
from koda_daemon.ai.providers import Compat
from koda_daemon.ai.settings import ModelSettings, PriceSettings, ProviderSettings, TierSettings

TEXT = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("### Providers\n")[2]


def names(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text))


def rows() -> dict[str, list[str]]:
    """The rows of the tables by each name of their first cell."""
    cells = [line.strip("| ").split(" | ") for line in SECTION.splitlines() if line.startswith("| `")]
    return {name: row for row in cells for name in re.findall(r"`(\w+)`", row[0])}


def test_every_key_is_there() -> None:
    kinds = (ProviderSettings, ModelSettings, PriceSettings, TierSettings)
    wanted = {name for kind in kinds for name in kind.__struct_encode_fields__}
    assert wanted <= names(SECTION)
    assert set(ProviderSettings.__struct_encode_fields__) <= rows().keys()
    assert BUILT_IN.keys() - {"demo", "github-copilot"} <= names(SECTION)


def test_every_option_and_flag_has_its_row() -> None:
    options = _OPTIONS.union(*_FURTHER.values())
    flags = set(Compat.__struct_encode_fields__)
    assert options | flags <= rows().keys()


def test_the_defaults_are_those() -> None:
    plain = msgspec.structs.asdict(Compat())
    for field, written in zip(Compat.__struct_fields__, Compat.__struct_encode_fields__, strict=True):
        default = plain[field]
        shown = (
            "by address" if default is None else str(default).lower() if isinstance(default, bool) else f"`{default}`"
        )
        assert rows()[written][1].strip() == shown
