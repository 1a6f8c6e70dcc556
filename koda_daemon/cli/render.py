"""A turn as a readable stream: what the agent thinks, says and does, as it happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from koda_daemon.cli.style import Style, clean, coloured_diff, one_line

_HEAD = 6
"""Lines of a tool's output that are shown as they come; of the rest the last ones, when it ends."""
_TAIL = 4
_INDENT = "    "


class _Running:
    """A call that runs: how many lines it has said and how many were shown, and the last ones."""

    def __init__(self) -> None:
        self.count = 0
        self.shown = 0
        self._last: deque[str] = deque(maxlen=_TAIL)
        self._open = ""

    def take(self, text: str) -> list[str]:
        """The lines that ``text`` completes."""
        *lines, self._open = (self._open + text).split("\n")
        self._last.extend(lines)
        return lines

    def finish(self) -> list[str]:
        """The last lines, with the one that nothing ended."""
        if self._open:
            self._last.append(self._open)
            self.count += 1
            self._open = ""
        return list(self._last)


class Renderer:
    """Writes the events of one session, in order, to ``write``. It never goes back: a pipe gets the same as a terminal.

    One tool at a time streams its output; those that run beside it are told when they end.
    """

    def __init__(self, write: Callable[[str], None], style: Style, *, width: int = 100) -> None:
        self._write = write
        self._style = style
        self._width = width
        self._column = 0
        self._part = ""
        """What the last piece of text belonged to: text, thinking or a call; text of another part needs a new line."""
        self._running: dict[str, _Running] = {}

    def event(self, event: dict[str, Any]) -> None:
        """Shows one event; unknown types are passed over, as the protocol asks."""
        handler = _HANDLERS.get(str(event.get("type")))
        if handler is not None:
            handler(self, event)

    def line(self, text: str = "") -> None:
        """Writes a whole line of its own."""
        self._end_line()
        self._put(text + "\n")
        self._part = ""

    def _put(self, text: str) -> None:
        if text:
            self._write(text)
            self._column = 0 if text.endswith("\n") else 1

    def _end_line(self) -> None:
        if self._column:
            self._put("\n")

    def _turn_started(self, event: dict[str, Any]) -> None:
        prompt = one_line(str(event.get("prompt", "")), self._width - 4)
        self.line(self._style.paint(f"{self._style.symbol('»', '>')} {prompt}", "bold"))

    def _text(self, event: dict[str, Any]) -> None:
        self._stream("text", clean(str(event.get("text", ""))))

    def _thinking(self, event: dict[str, Any]) -> None:
        self._stream("thinking", clean(str(event.get("text", ""))), dim=True)

    def _stream(self, part: str, text: str, *, dim: bool = False) -> None:
        if part != self._part:
            self._end_line()
            text = text.lstrip("\n")
            self._part = part if text else self._part
        self._put(self._style.paint(text, "dim") if dim else text)
        if text:
            self._column = 0 if text.endswith("\n") else 1

    def _discarded(self, _: dict[str, Any]) -> None:
        self.line(self._style.paint("(the answer above broke off and is given again)", "dim"))

    def _retry(self, event: dict[str, Any]) -> None:
        seconds = float(event.get("delayMs", 0)) / 1000
        text = f"{self._style.symbol('↻', '~')} attempt {event.get('attempt')} of {event.get('maxAttempts')}"
        reason = one_line(str(event.get("reason", "")), self._width)
        self.line(self._style.paint(f"{text} in {seconds:.1f} s: {reason}", "yellow"))

    def _tool_started(self, event: dict[str, Any]) -> None:
        self._running[str(event.get("callId"))] = _Running()
        head = self._style.paint(f"{self._style.symbol('▸', '*')} {event.get('tool')}", "blue", "bold")
        self.line(f"{head} {one_line(call_text(event.get('arguments') or {}), self._width - 12)}")

    def _tool_output(self, event: dict[str, Any]) -> None:
        call = str(event.get("callId"))
        running = self._running.get(call)
        if running is None:
            return
        first = call == next(iter(self._running))
        for line in running.take(clean(str(event.get("text", "")))):
            running.count += 1
            if first and running.count <= _HEAD and running.shown == running.count - 1:
                self._output_line(line)
                running.shown += 1

    def _output_line(self, line: str) -> None:
        self.line(self._style.paint(_INDENT + line, "dim") if line.strip() else "")

    def _tool_ended(self, event: dict[str, Any]) -> None:
        running = self._running.pop(str(event.get("callId")), None) or _Running()
        status = str(event.get("status"))
        text = clean("\n".join(str(block.get("text", "")) for block in event.get("content") or ())).strip()
        said = running.finish()
        if diff := event.get("diff"):
            self.line(_indented(coloured_diff(str(diff), self._style)))
        elif running.count:
            unseen = running.count - running.shown
            tail = said[-min(unseen, _TAIL) :] if unseen else []
            if unseen > len(tail):
                dots = self._style.symbol("…", "...")
                self.line(self._style.paint(f"{_INDENT}{dots} {counted(unseen - len(tail), 'line')}", "dim"))
            for line in tail:
                self._output_line(line)
        elif status != "ok":
            self.line(self._style.paint(_indented("\n".join(text.splitlines()[: _HEAD + _TAIL])), "red"))
        self.line(self._ending(event, status, text if not running.count and not diff else ""))

    def _ending(self, event: dict[str, Any], status: str, text: str) -> str:
        """The last line of a call: a mark, the tool if others run beside it, what came of it, how long it took."""
        code = (event.get("details") or {}).get("exitCode")
        what = f"exit code {code}" if code is not None else counted(len(text.splitlines()), "line") if text else status
        if status in ("denied", "cancelled"):
            what = status
        ok = status == "ok"
        mark = self._style.paint(self._style.symbol("✓" if ok else "✗", "ok" if ok else "--"), "green" if ok else "red")
        name = f" {event.get('tool')}" if self._running else ""
        seconds = float(event.get("durationMs", 0)) / 1000
        return f"  {mark}{name} {self._style.paint(f'{what}, {seconds:.1f} s', 'dim')}"

    def _approval(self, event: dict[str, Any]) -> None:
        title = one_line(str(event.get("title", "")), self._width)
        self.line(self._style.paint(f"? {title}: {one_line(str(event.get('reason', '')), self._width)}", "yellow"))

    def _notice(self, event: dict[str, Any]) -> None:
        level = event.get("level")
        text = clean(str(event.get("message", "")))
        self.line(self._style.paint(text, "red" if level == "error" else "yellow" if level == "warning" else "dim"))

    def _conflict(self, event: dict[str, Any]) -> None:
        self.line(
            self._style.paint(f"{clean(str(event.get('uri')))} has changed meanwhile; it was left alone", "yellow")
        )

    def _compaction(self, event: dict[str, Any]) -> None:
        if "nodeId" not in event:  # nothing was compacted
            return
        before, after = event.get("tokensBefore", 0), event.get("tokensAfter", 0)
        self.line(self._style.paint(f"The conversation was summarised: {before:,} tokens became {after:,}.", "dim"))

    def _turn_ended(self, event: dict[str, Any]) -> None:
        reason = str(event.get("stopReason"))
        error = event.get("error") or {}
        if error:
            self.line(self._style.paint(f"{clean(str(error.get('message', reason)))}", "red"))
            if error.get("userAction"):
                self.line(self._style.paint(clean(str(error["userAction"])), "yellow"))
        ended = "" if reason == "end" else f"{reason}, "
        self.line(self._style.paint(f"({ended}{usage_text(event.get('usage') or {})})", "dim"))


_HANDLERS: dict[str, Callable[[Renderer, dict[str, Any]], None]] = {
    "turn.started": Renderer._turn_started,
    "turn.ended": Renderer._turn_ended,
    "text.delta": Renderer._text,
    "thinking.delta": Renderer._thinking,
    "message.discarded": Renderer._discarded,
    "tool.started": Renderer._tool_started,
    "tool.output": Renderer._tool_output,
    "tool.ended": Renderer._tool_ended,
    "approval.requested": Renderer._approval,
    "edit.conflict": Renderer._conflict,
    "compaction.ended": Renderer._compaction,
    "retry": Renderer._retry,
    "notice": Renderer._notice,
    "error": lambda self, event: self._notice({"level": "error", **(event.get("error") or {})}),
}


def call_text(arguments: dict[str, Any]) -> str:
    """The arguments of a call in a few words: its command, path or pattern first."""
    for name in ("command", "path", "pattern"):
        if name in arguments:
            rest = [
                f"{key}={value}" for key, value in arguments.items() if key != name and isinstance(value, str | int)
            ]
            short = [text for text in rest if len(text) < 40 and "\n" not in text]
            return " ".join([str(arguments[name]), *short])
    return " ".join(f"{key}={value}" for key, value in arguments.items())


def counted(number: int, noun: str) -> str:
    """``1 line``, ``2 lines``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def usage_text(usage: dict[str, Any]) -> str:
    """Tokens and money of a turn: ``1,200 in, 34 out, 900 cached, $0.0123``."""
    parts = [f"{usage.get('input', 0):,} in", f"{usage.get('output', 0):,} out"]
    if cached := usage.get("cacheRead", 0):
        parts.append(f"{cached:,} cached")
    if cost := (usage.get("cost") or {}).get("total", 0):
        parts.append(f"${cost:.4f}")
    return ", ".join(parts)


def _indented(text: str) -> str:
    return "\n".join(_INDENT + line if line.strip() else "" for line in text.split("\n"))
