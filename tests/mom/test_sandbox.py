"""What a confined command can and cannot do. Runs where bubblewrap (or sandbox-exec) works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
import pytest_asyncio

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.settings import SandboxMode
from koda_daemon.mom.sandbox import Sandbox, clean_environment, probe
from koda_daemon.mom.sandbox_backend import Confinement, bwrap_options, confinement, seatbelt_options

posix = pytest.mark.skipif(sys.platform == "win32", reason="runs POSIX shell commands")


class Place:
    """A workspace and a Koda home next to it, and commands run there."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.home = folder / "home"
        self.work.mkdir()
        self.home.mkdir()
        self.output = ""

    def sandbox(self, mode: SandboxMode, *, network: tuple[str, ...] = (), path: str | None = None) -> Sandbox:
        if path is None:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, "LAB_API_KEY": "sesame", "PATH": path}
        return Sandbox(mode=mode, roots=[self.work], koda_home=self.home, network=network, environ=environ)

    async def shell(self, sandbox: Sandbox, script: str, *, writable: bool = True) -> int | None:
        output = bytearray()
        result = await sandbox.run(
            ["/bin/sh", "-c", script], cwd=self.work, timeout=30, on_output=output.extend, writable=writable
        )
        self.output = output.decode()
        return result.exit_code


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments], check=True)


def running(word: str) -> list[psutil.Process]:
    """Processes with this argument."""
    return [process for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest_asyncio.fixture
async def confined(place: Place) -> AsyncIterator[Sandbox]:
    report = await probe()
    if report.backend is None:
        pytest.skip(f"no sandbox here: {report.reason}")
    sandbox = place.sandbox("workspace-write")
    await sandbox.prepare()
    yield sandbox
    await sandbox.aclose()


def test_the_environment_is_cleaned() -> None:
    environ = {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "OPENAI_API_KEY": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ACCESS_KEY_ID": "x",
        "GITHUB_TOKEN": "x",
        "client_secret_v2": "x",
        "PGPASSWORD": "x",
        "KODA_PASSPHRASE": "x",
        "KODA_HOME": "x",
        "GOOGLE_APPLICATION_CREDENTIALS": "x",
        "DATABASE_URL": "postgres://me:hunter2@db/main",
        "https_proxy": "http://me:hunter2@proxy:3128",
        "http_proxy": "http://proxy:3128",
        "WHATEVER": "x",
    }
    kept = {"PATH": "/bin", "LANG": "C.UTF-8", "http_proxy": "http://proxy:3128"}
    assert clean_environment(environ, {"WHATEVER"}) == kept
    assert clean_environment(environ) == kept | {"WHATEVER": "x"}


@posix
@pytest.mark.asyncio
async def test_off_runs_plain_processes_with_a_clean_environment(place: Place) -> None:
    sandbox = place.sandbox("off")
    assert await place.shell(sandbox, 'echo "[$LAB_API_KEY]" > seen; cat seen') == 0
    assert place.output == "[]\n"
    assert not sandbox.isolated


@posix
@pytest.mark.asyncio
async def test_without_a_backend_commands_run_plain_and_say_so(place: Place) -> None:
    sandbox = place.sandbox("workspace-write", path=str(place.home))
    assert await place.shell(sandbox, "echo hello") == 0
    assert not sandbox.isolated
    assert sandbox.report.reason is not None


@posix
@pytest.mark.asyncio
async def test_required_without_a_backend_runs_nothing(place: Place) -> None:
    with pytest.raises(KodaError) as caught:
        await place.shell(place.sandbox("required", path=str(place.home)), "touch ran")
    assert caught.value.kind == "sandbox.unavailable"
    assert not (place.work / "ran").exists()


@pytest.mark.asyncio
async def test_the_workspace_can_be_written_and_nothing_else(place: Place, confined: Sandbox) -> None:
    assert confined.isolated
    outside = Path(__file__).parent / "outside"
    assert await place.shell(confined, f"echo x > inside && ! touch {outside}") == 0, place.output
    assert (place.work / "inside").read_text() == "x\n"
    assert not outside.exists()


@pytest.mark.asyncio
async def test_a_command_can_be_kept_from_writing(place: Place, confined: Sandbox) -> None:
    assert await place.shell(confined, "! touch inside", writable=False) == 0, place.output
    assert not (place.work / "inside").exists()


@pytest.mark.asyncio
async def test_the_home_of_koda_cannot_be_read(place: Place, confined: Sandbox) -> None:
    (place.home / "auth.json").write_text("sesame")
    assert await place.shell(confined, f"cat {place.home}/auth.json") != 0
    assert "sesame" not in place.output


@pytest.mark.asyncio
async def test_a_workspace_below_the_home_of_koda_can_be_used(tmp_path: Path, confined: Sandbox) -> None:
    work = tmp_path / "home" / "worktrees" / "one"
    work.mkdir(parents=True)
    (tmp_path / "home" / "auth.json").write_text("sesame")
    sandbox = Sandbox(mode="workspace-write", roots=[work], koda_home=tmp_path / "home")
    output = bytearray()
    result = await sandbox.run(
        ["/bin/sh", "-c", "touch new && ! cat ../../auth.json"], cwd=work, on_output=output.extend
    )
    assert result.exit_code == 0, output
    assert (work / "new").exists()
    await sandbox.aclose()


@pytest.mark.asyncio
async def test_the_temporary_folder_is_private_and_lasts_for_the_session(place: Place, confined: Sandbox) -> None:
    assert await place.shell(confined, 'echo kept > "$TMPDIR/note"') == 0, place.output
    assert await place.shell(confined, 'cat "$TMPDIR/note"') == 0
    assert place.output == "kept\n"
    other = place.sandbox("workspace-write")
    assert await place.shell(other, 'cat "$TMPDIR/note"') != 0
    await other.aclose()


@pytest.mark.asyncio
async def test_the_network_is_off_unless_allowed(place: Place, confined: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = (
            f"{sys.executable} -c 'import socket; socket.create_connection((\"127.0.0.1\", {server.getsockname()[1]}))'"
        )
        assert await place.shell(confined, script) != 0
        assert "Error" in place.output
        allowed = place.sandbox("workspace-write", network=("*",))
        assert await place.shell(allowed, script) == 0, place.output
        await allowed.aclose()


@pytest.mark.asyncio
async def test_git_works_and_its_hooks_and_configuration_are_out_of_reach(place: Place, confined: Sandbox) -> None:
    git("init", "-q", str(place.work))
    commit = "git -c user.name=n -c user.email=e@x commit -q --allow-empty -m first"
    assert await place.shell(confined, commit) == 0, place.output
    assert await place.shell(confined, "! git config core.fsmonitor ./evil && ! touch .git/hooks/pre-commit") == 0


@pytest.mark.asyncio
async def test_a_linked_worktree_can_commit(place: Place, confined: Sandbox, tmp_path: Path) -> None:
    main = str(tmp_path / "main")
    git("init", "-q", main)
    git("-C", main, "commit", "-q", "--allow-empty", "-m", "x")
    git("-C", main, "worktree", "add", "-q", str(tmp_path / "tree"))
    sandbox = Sandbox(mode="workspace-write", roots=[tmp_path / "tree"], koda_home=place.home)
    output = bytearray()
    result = await sandbox.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "--allow-empty", "-m", "y"],
        cwd=tmp_path / "tree",
        on_output=output.extend,
    )
    assert result.exit_code == 0, output
    await sandbox.aclose()


@pytest.mark.asyncio
async def test_what_cannot_start_is_named(place: Place, confined: Sandbox) -> None:
    with pytest.raises(KodaError, match="no-such-program cannot be started"):
        await confined.run(["no-such-program"], cwd=place.work, on_output=lambda _: None)


@pytest.mark.asyncio
async def test_a_confined_process_that_is_cancelled_leaves_nobody(place: Place, confined: Sandbox) -> None:
    started = anyio.Event()

    async def run() -> None:
        argv = ["/bin/sh", "-c", "(env -i setsid sleep 600.25 &); echo started; sleep 600"]
        await confined.run(argv, cwd=place.work, on_output=lambda _: started.set())

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await started.wait()
            group.cancel_scope.cancel()
    assert not running("600.25")


@pytest.mark.asyncio
async def test_cancelling_at_any_moment_leaves_nobody(place: Place, confined: Sandbox) -> None:
    """Killed while it sets its namespaces up, bubblewrap alone leaves its child behind."""

    async def begin_and_cancel(seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await place.shell(confined, "(setsid sleep 600.5 &); sleep 600.5")

    async with anyio.create_task_group() as group:
        for step in range(40):  # moments in the life of the process, not times to wait for something
            group.start_soon(begin_and_cancel, step / 2000)
    assert not running("600.5")


def test_a_forged_worktree_opens_no_folder(tmp_path: Path) -> None:
    victim, work = tmp_path / "victim", tmp_path / "work"
    victim.mkdir()
    work.mkdir()
    (work / ".git").write_text(f"gitdir: {victim}\n")
    rules = confinement(
        roots=[work], home=tmp_path, koda_home=tmp_path / "koda", temp=tmp_path, writable=True, network=False
    )
    assert rules.roots == (str(work.resolve()),)


RULES = Confinement(
    roots=("/home/u", "/home/u/.koda/worktrees/one"),
    writable=True,
    guarded=("/home/u/.git/hooks",),
    hidden=("/home/u/.koda", "/home/u/.netrc"),
    hidden_files=frozenset({"/home/u/.netrc"}),
    temp="/tmp/koda-x",
    network=False,
)


def test_inner_mounts_come_after_outer_ones() -> None:
    options = bwrap_options(RULES, "/home/u")
    order = [options.index(path) for path in ("/home/u", "/home/u/.koda", "/home/u/.koda/worktrees/one")]
    assert order == sorted(order)
    assert options.index("/home/u") < options.index("/home/u/.git/hooks")
    assert options[options.index("/home/u/.netrc") - 2 :][:2] == ["--ro-bind", "/dev/null"]
    assert "--share-net" not in options


def test_no_path_becomes_a_rule_of_the_macos_profile() -> None:
    evil = '/w")) (allow default) ("'
    options = seatbelt_options(
        Confinement(
            roots=(evil,), writable=True, guarded=(), hidden=(), hidden_files=frozenset(), temp="/t", network=False
        )
    )
    profile = options[options.index("-p") + 1]
    assert evil not in profile
    assert "(deny network*)" in profile


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_confined_process_has_no_capabilities(place: Place, confined: Sandbox) -> None:
    assert await place.shell(confined, "grep CapEff /proc/self/status") == 0
    assert place.output.split()[1].strip("0") == ""


@pytest.mark.asyncio
async def test_programs_in_a_temporary_folder_stay(place: Place, confined: Sandbox, tmp_path: Path) -> None:
    program = tmp_path / "tools" / "bin" / "hello"
    program.parent.mkdir(parents=True)
    (tmp_path / "tools" / "lib").write_text("hello\n")
    program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../lib"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    output = bytearray()
    result = await confined.run(["hello"], cwd=place.work, env={"PATH": path}, on_output=output.extend)
    assert (result.exit_code, bytes(output)) == (0, b"hello\n")
