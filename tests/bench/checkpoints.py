"""What recording 50,000 files costs, beside what git itself takes, and whether a turn's first token waits for it.

``python -m tests.bench.checkpoints [files]``
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from koda_daemon.coding.checkpoints import Checkpoints, CheckpointStore
from koda_daemon.coding.settings import CheckpointSettings
from tests.e2e.koda import call, daemon, say, steps

FILES = 50_000


def fill(root: Path, count: int) -> list[Path]:
    """Files of some kB each in 2,000 folders."""
    chance = random.Random(1)
    words = [f"w{number:04d}" for number in range(3000)]
    paths = [root / f"d{number % 100:02d}/e{number // 100 % 20:02d}/f{number}.py" for number in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(chance.choices(words, k=chance.randrange(20, 800))))
    return paths


async def lagging(work: Awaitable[object]) -> tuple[float, float]:
    """How long something takes, and for how long it kept the event loop from anything else, in ms."""
    worst, task, begun = 0.0, asyncio.ensure_future(work), time.perf_counter()
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(0.002)
        worst = max(worst, time.perf_counter() - before - 0.002)
    await task
    return 1000 * (time.perf_counter() - begun), 1000 * worst


def git(root: Path, *args: str) -> float:
    """What a command of the user's own git takes, in ms."""
    begun = time.perf_counter()
    subprocess.run(["git", *args], cwd=root, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - begun)


async def recording(root: Path, home: Path, paths: list[Path]) -> None:
    store = CheckpointStore(home, CheckpointSettings(), {"PATH": os.environ["PATH"], "HOME": str(home)})
    points = Checkpoints(store, root)
    try:
        took, lag = await lagging(points.record())
        print(f"first record {took:,.0f} ms (loop held for {lag:.0f} ms)")
        for name, change in (("nothing", lambda: None), ("ten files", lambda: touch(paths[::5000]))):
            found = [await once(points, change) for _ in range(5)]
            took, lag = min(one[0] for one in found), max(one[1] for one in found)
            print(f"{name} changed: record {took:.0f} ms, best of 5 (loop held for {lag:.0f} ms at worst)")
    finally:
        store.close()


async def once(points: Checkpoints, change: Callable[[], None]) -> tuple[float, float]:
    change()
    return await lagging(points.record())


def touch(paths: list[Path]) -> None:
    for path in paths:
        path.write_text(path.read_text() + "x")


async def first_token(top: Path) -> None:
    """The first turn in a workspace that was never recorded, and the second."""
    script = {"answers": [steps(say("I begin."), call("bash", command="true")), "Done."] * 2}
    async with daemon(top) as koda:
        session = await koda.new(script)
        for name in ("first", "second"):
            begun = time.perf_counter()
            turn = (await koda.request("koda/prompt", sessionId=session, content="Go"))["turnId"]
            for kind, what in (("text.delta", "first token"), ("turn.ended", "ended")):
                await koda.event(session, kind, partial(_is_of, turn), 600)
                print(f"{name} turn: {what} after {1000 * (time.perf_counter() - begun):,.0f} ms")


def _is_of(turn: str, event: dict[str, Any]) -> bool:
    return bool(event["turnId"] == turn)


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="koda-bench-") as folder:
        top = Path(folder).resolve()
        paths = await asyncio.to_thread(fill, top / "work", count)
        print(f"{count:,} files")
        await recording(top / "work", top / "records", paths)
        await first_token(top)
        git(top / "work", "init", "--quiet")
        print(f"git add: {git(top / 'work', 'add', '.'):,.0f} ms", end="; ")
        print(f"git status: {min(git(top / 'work', 'status', '--porcelain') for _ in range(5)):.0f} ms")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else FILES))
