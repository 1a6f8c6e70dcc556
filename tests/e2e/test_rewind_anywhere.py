"""What the user, tools and commands do to files in any order: every node can be gone back to, and that undone."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.coding.checkpoints import snapshot
from tests.e2e.koda import Koda, call, daemon, steps
from tests.harness.client import RefusedError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands of these scripts are for a POSIX shell")

NAMES = ["a", "b", "c", "d/x", "d/y", "d/e/z", "f", "f/g", "new\nline", "-dash", "sp ace"]
Files = dict[str, Any]


def some_command(chance: random.Random) -> str:
    """Changes, makes, moves or removes something, whatever is there."""
    one, other = (f"./{chance.choice(NAMES)}" for _ in range(2))
    path, second, number = shlex.quote(one), shlex.quote(other), chance.random()
    folder = f"mkdir -p {shlex.quote(os.path.dirname(one))};"
    return chance.choice(
        [
            f"{folder} echo {number} > {path}",
            f"echo more >> {path}",
            f"rm -rf {path}",
            f"chmod {chance.choice(['600', '755', '644', '444'])} {path}",
            f"rm -rf {path}; {folder} ln -s {chance.choice(['a', 'd', 'nowhere'])} {path}",
            f"{folder} mv {path} {second}",
            f"rm -rf {path}; mkdir -p {path}",
            f"{folder} printf '\\000{number}' > {path}",
            f"rm -rf {path}; {folder} : > {path}",
            f"rmdir {path}",
        ]
    )


def without_folders(files: Files) -> Files:
    return {name: what for name, what in files.items() if what != "folder"}


def differing(one: Files, other: Files) -> set[str]:
    one, other = without_folders(one), without_folders(other)
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


class Walk:
    """A session and what its files were at the ends of its turns."""

    def __init__(self, koda: Koda, session: str, chance: random.Random) -> None:
        self.koda, self.session, self.chance = koda, session, chance
        self.at: dict[str | None, Files] = {}
        self.seen: Files = {}
        """The files after the session last did something: what differs from them was done by hand."""

    @property
    def files(self) -> Files:
        return snapshot(self.koda.workspace)

    def by_hand(self) -> None:
        subprocess.run(
            ["bash", "-c", some_command(self.chance)], cwd=self.koda.workspace, capture_output=True, check=False
        )

    async def head(self) -> str | None:
        tree = await self.koda.request("koda/tree", sessionId=self.session)
        head: str | None = tree["headId"]
        return head

    async def turn(self) -> None:
        tree = await self.koda.request("koda/tree", sessionId=self.session)
        nodes, here, answers = {node["id"]: node for node in tree["nodes"]}, tree["headId"], 0
        while here is not None:
            answers += nodes[here]["kind"] == "assistant"
            here = nodes[here]["parentId"]
        calls = [call("bash", command=some_command(self.chance)) for _ in range(self.chance.randint(1, 3))]
        script = {"answers": ["?"] * answers + [steps(*calls), "Done."]}
        await self.koda.request("koda/option/set", sessionId=self.session, name="provider", value={"script": script})
        self.at.setdefault(None, self.files)
        await self.koda.prompt(self.session, "Go on")
        self.at[await self.head()] = self.seen = self.files

    async def rewind(self) -> None:
        to, choice = self.chance.choice(list(self.at)), self.chance.choice(["refuse", "keep", "overwrite"])
        now, head, target = self.files, await self.head(), self.at[to]
        preview = await self.koda.request("koda/rewind/preview", sessionId=self.session, toId=to)
        conflicts = {file["path"] for file in preview["files"] if file.get("conflict")}
        assert {file["path"] for file in preview["files"]} == differing(now, target)
        assert differing(now, self.seen) & differing(now, target) <= conflicts
        apply = {"sessionId": self.session, "toId": to, "conflicts": choice}
        if choice == "refuse" and conflicts:
            with pytest.raises(RefusedError) as refused:
                await self.koda.raw.request("koda/rewind/apply", apply)
            assert refused.value.data["kind"] == "edit.conflict"
            assert self.files == now
            return
        done = await self.koda.raw.request("koda/rewind/apply", apply)
        if choice == "keep":
            assert differing(self.files, target) == conflicts
            assert not differing(self.files, now) & conflicts
        else:
            assert self.files == target
        await self.koda.request("koda/rewind/undo", undoId=done["undoId"])
        assert self.files == now
        assert await self.head() == head
        if self.chance.random() < 0.5:
            await self.koda.request("koda/rewind/apply", sessionId=self.session, toId=to, conflicts="overwrite")
            assert self.files == target
            self.seen = target


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", [6, 11, 23])
async def test_every_node_can_be_gone_back_to(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with daemon(tmp_path) as koda:
        walk = Walk(koda, await koda.new({"answers": []}), chance)
        await walk.turn()
        for _ in range(16):
            match chance.randrange(3):
                case 0:
                    await walk.turn()
                case 1:
                    walk.by_hand()
                case _:
                    await walk.rewind()
