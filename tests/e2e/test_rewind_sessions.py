"""Rewinding where several sessions work in one folder."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.koda import call, daemon, steps

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands of these scripts are for a POSIX shell")


@pytest.mark.asyncio
async def test_two_sessions_in_one_folder_see_each_other_as_somebody_else(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        one = await koda.new({"answers": [steps(call("bash", command="echo one > shared; echo 1 > a")), "Done."]})
        two = await koda.new({"answers": [steps(call("bash", command="echo two > shared; echo 2 > b")), "Done."]})
        await koda.prompt(one, "Go")
        await koda.prompt(two, "Go")
        preview = await koda.request("koda/rewind/preview", sessionId=one, toId=None)
        assert {file["path"]: file.get("conflict", False) for file in preview["files"]} == {
            "shared": True,
            "a": False,
            "b": True,
        }
        await koda.request("koda/rewind/apply", sessionId=two, toId=None)
        assert (koda.workspace / "shared").read_text() == "one\n"
        await koda.request("koda/rewind/apply", sessionId=one, toId=None)
        assert list(koda.workspace.iterdir()) == []


@pytest.mark.asyncio
async def test_what_another_session_does_meanwhile_is_not_overwritten_silently(tmp_path: Path) -> None:
    wait = "touch {0}; for i in $(seq 500); do [ -e {1} ] && break; sleep 0.02; done"
    one = {
        "answers": [
            steps(call("write", path="a", content="one\n"), call("bash", command=wait.format("ready1", "ready2"))),
            "Done.",
        ]
    }
    two = {"answers": [steps(call("bash", command=f"{wait.format('ready2', 'ready1')}; echo two > b")), "Done."]}
    async with daemon(tmp_path) as koda:
        sessions = [await koda.new(one), await koda.new(two)]
        await asyncio.gather(*(koda.prompt(session, "Go") for session in sessions))
        preview = await koda.request("koda/rewind/preview", sessionId=sessions[0], toId=None)
        conflicts = {file["path"]: file.get("conflict", False) for file in preview["files"]}
        assert not conflicts["a"], "its own edit says so"
        assert conflicts.get("b", True), "if it is there at all: the other's command may have ended later"
        await koda.request("koda/rewind/apply", sessionId=sessions[0], toId=None, conflicts="keep")
        assert not (koda.workspace / "a").exists()
        assert (koda.workspace / "b").read_text() == "two\n"
