"""Sandbox: runs the processes of a session's tools, confined where the machine can do it."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.interfaces import ExecutionResult
from koda_daemon.coding.settings import SandboxMode
from koda_daemon.mom.sandbox_backend import SandboxReport, confinement, probe, wrap
from koda_daemon.mom.sandbox_process import run_process

if TYPE_CHECKING:
    from koda_daemon.mom.sandbox_temp import TempFolder

__all__ = ["Sandbox", "SandboxReport", "clean_environment", "probe"]

_SECRET = re.compile(
    r"(API|ACCESS|PRIVATE|SECRET|AUTH|ENCRYPTION|SIGNING|SERVICE_ACCOUNT)_?KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL"
    r"|^KODA_",
    re.IGNORECASE,
)


_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def clean_environment(environ: Mapping[str, str], hidden: Collection[str] = ()) -> dict[str, str]:
    """``environ`` without what a command of a model must not see: keys, tokens, passwords, Koda's own variables.

    By their names, those in ``hidden``, and addresses that hold a password (of a proxy, of a database).
    """
    return {
        name: value
        for name, value in environ.items()
        if not (_SECRET.search(name) or name in hidden or _WITH_PASSWORD.search(value))
    }


class Sandbox:
    """The ``Executor`` of one session (``coding.interfaces``).

    ``off`` runs plain processes. ``workspace-write`` and ``read-only`` confine them where ``probe`` finds a way, and
    run them plain where it does not; ``isolated`` is then False and the permission policy asks. ``required`` is
    ``workspace-write`` that raises ``sandbox.unavailable`` instead. Call ``prepare`` early: until it has run,
    ``isolated`` is False. ``network``: empty for none, ``["*"]`` for all. ``hidden``: variables that
    commands are not given, beside those that ``clean_environment`` knows. ``aclose`` removes the temporary folder.
    """

    def __init__(
        self,
        *,
        mode: SandboxMode,
        roots: Sequence[Path],
        koda_home: Path,
        network: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._mode = mode
        self._roots = tuple(roots)
        self._koda_home = koda_home
        self._network = "*" in network
        self._environ = os.environ if environ is None else environ
        self._base = clean_environment(self._environ, hidden)
        self._probed: SandboxReport | None = None
        self._temp: TempFolder | None = None
        self._lock = asyncio.Lock()

    def choose(self, mode: SandboxMode) -> None:
        """What holds from now on. Between turns only: what was authorised must run as it was authorised."""
        self._mode = mode

    @property
    def isolated(self) -> bool:
        return self.report.backend is not None

    @property
    def report(self) -> SandboxReport:
        """What ``prepare`` found, for doctor and diagnoses."""
        if self._mode == "off":
            return SandboxReport(backend=None, reason='sandbox.mode is "off"')
        return self._probed or SandboxReport(backend=None, reason="not probed yet")

    async def prepare(self) -> None:
        """Finds out what confines commands here. Safe to call often."""
        async with self._lock:
            if self._mode == "off" or self._probed is not None:
                return
            report = await probe(self._environ)
            if report.backend is not None:
                await anyio.to_thread.run_sync(self._make_temp)
            self._probed = report

    async def aclose(self) -> None:
        """Removes the temporary folder of the session's commands (also done when the process ends)."""
        if self._temp is not None:
            await anyio.to_thread.run_sync(self._temp.remove)

    def _make_temp(self) -> None:
        from koda_daemon.mom.sandbox_temp import TempFolder, clear_leftovers_once

        self._temp = TempFolder()
        clear_leftovers_once()

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_output: Callable[[bytes], None],
        writable: bool = True,
    ) -> ExecutionResult:
        """See ``Executor.run``. ``writable=False`` makes the workspace read-only for this command."""
        await self.prepare()
        environment = {**self._base, **(env or {})}
        if not self.isolated:
            if self._mode == "required":
                raise KodaError(
                    "sandbox.unavailable",
                    f"Commands need a sandbox here and there is none: {self.report.reason}.",
                    user_action='Install bubblewrap, or set sandbox.mode to "workspace-write".',
                )
            return await run_process(argv, cwd=cwd, env=environment, timeout=timeout, on_output=on_output)
        # What exists on disk changes between commands (``git init``): looked at anew, off the loop.
        confined, extra = await anyio.to_thread.run_sync(self._confine, argv, cwd, environment.get("PATH"), writable)
        return await run_process(
            confined,
            cwd=cwd,
            env={**environment, **extra},
            timeout=timeout,
            on_output=on_output,
        )

    def _confine(
        self, argv: Sequence[str], cwd: Path, path: str | None, writable: bool
    ) -> tuple[list[str], dict[str, str]]:
        """The command as it is really run, and what it needs in its environment (blocking)."""
        import shutil

        assert self._temp is not None
        if not cwd.is_dir():
            raise KodaError("tool.failed", f"The folder {cwd} does not exist.", path=str(cwd))
        if shutil.which(argv[0], path=path) is None:
            raise KodaError("tool.failed", f"{argv[0]} cannot be started: No such file or directory.", path=argv[0])
        rules = confinement(
            roots=self._roots,
            home=Path.home(),
            koda_home=self._koda_home,
            temp=self._temp.path,
            writable=writable and self._mode != "read-only",
            network=self._network,
            path=path,
        )
        temp = "/tmp" if self.report.backend == "bwrap" else str(self._temp.path)  # noqa: S108 - private inside
        # Caches of the user stay read-only (a poisoned cache acts outside): builds get one of the session's own.
        extra = {"TMPDIR": temp, "XDG_CACHE_HOME": f"{temp}/.cache", "npm_config_cache": f"{temp}/.npm"}
        return wrap(self.report, rules, argv, str(cwd.resolve())), extra
