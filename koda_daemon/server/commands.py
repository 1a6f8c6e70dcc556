"""What the commands of the plain-LSP tier do: the same host, for editors that know nothing of koda/*."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koda_daemon.ai.messages import Range, ResourceBlock, TextBlock, UserBlock
from koda_daemon.base.errors import KodaError
from koda_daemon.host.branches import branch
from koda_daemon.host.host import resolved
from koda_daemon.host.live import LiveSession
from koda_daemon.host.prompts import prompt

if TYPE_CHECKING:
    from koda_daemon.host.host import Host
    from koda_daemon.server.face import Face


class HostCommands:
    """The commands of one client (``language.commands.Commands``); they act on the session it used last."""

    def __init__(self, host: Callable[[], Awaitable[Host]]) -> None:
        self._host = host
        self.face: Face | None = None

    async def _session(self) -> LiveSession:
        """The newest session of the workspace folder, or a new one."""
        face = self.face
        assert face is not None
        host = await self._host()
        if face.workspace_folder is None:
            raise KodaError(
                "params.invalid", "Koda needs a workspace folder.", user_action="Open a folder in the editor."
            )
        if face.last_session is not None:
            live = await host.session(face.last_session)
        else:
            known, _ = await host.sessions.list(cwd=await resolved(face.workspace_folder), limit=1)
            live = await host.session(known[0].id) if known else await host.new_session(cwd=face.workspace_folder)
        face.subscribe(live)
        return live

    async def ask(self, text: str, uri: str | None, where: Range | None) -> Any:
        """Starts (or queues) a turn; returns its ids."""
        content: list[UserBlock] = [TextBlock(text)]
        if uri is not None:
            content.append(ResourceBlock(uri, where))
        live = await self._session()
        admission = await prompt(live, content)
        return {"sessionId": live.id, "turnId": admission.turn_id, "status": admission.status}

    async def cancel(self) -> str:
        live = await self._session()
        return "Cancelling the running turn." if live.turns.cancel() else "No turn is running."

    async def branch(self) -> str:
        live = await self._session()
        last = live.last_prompt()
        if last is None:
            return "There is nothing to branch from yet."
        await branch(live, live.session.tree[last].parent_id)
        return "A new branch starts before your last prompt; the old one stays in the tree."

    async def transcript(self) -> Path:
        from koda_daemon.session.export import export_session

        live = await self._session()
        host = await self._host()
        return await host.write_transcript(live.id, await export_session(live.session, "markdown"))

    async def status(self) -> str:
        live = await self._session()
        doing = "working" if live.turn is not None else "idle"
        waiting = len(live.approvals.pending)
        asks = f", {waiting} approval(s) waiting" if waiting else ""
        return f"Koda is {doing}{asks}. Model {live.session.model}, {len(live.session.tree)} nodes in this session."
