"""The ``demo`` provider: models that need no network and no key, for demonstrations, client authors and tests.

``demo/koda`` works by rules and says so; ``demo/scripted`` plays a file (``ai.demo_script``); ``demo/echo`` repeats.
All of them stream like a real provider, and cost nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from koda_daemon.ai.demo_script import (
    Answer,
    Call,
    Cut,
    Delay,
    Failure,
    Script,
    Text,
    Thinking,
    load_script,
    read_script,
)
from koda_daemon.ai.events import StreamEvent
from koda_daemon.ai.messages import (
    AssistantMessage,
    Message,
    StopReason,
    ThinkingBlock,
    ToolCall,
    Usage,
    UserMessage,
    text_of,
)
from koda_daemon.ai.provider import BaseProvider, Context, Model, StreamOptions
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.base.errors import KodaError

SCRIPT_VARIABLE = "KODA_DEMO_SCRIPT"
_PACE = 0.012  # seconds between pieces: readable, and a demonstration stays short


class DemoProvider(BaseProvider):
    """Plays answers. Settings (``providers.demo.options``): ``pace`` in seconds, ``script`` (a path or the script)."""

    api_type = "demo"

    def __init__(self, config: ProviderConfig) -> None:
        self._config = config
        # How often an answer with `attempts` was asked for: (script, conversation) -> (answer, count).
        self._attempts: dict[tuple[str, str], tuple[int, int]] = {}

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        return AssistantMessageEventStream(self._run(model, context, options))

    async def _run(self, model: Model, context: Context, options: StreamOptions) -> AsyncGenerator[StreamEvent]:
        assembler = Assembler(model, self.api_type)
        try:
            answer, pace, number = await self._answer(model, context, options)
        except KodaError as error:
            assembler.failed(error)
            yield assembler.out[0]
            return
        for count, seconds in enumerate(_play(answer, number, assembler, context)):
            for event in assembler.out:
                yield event
            assembler.out.clear()
            delay = pace if seconds is None else seconds
            if delay or count % 64 == 0:  # without a pace, others still get their turn
                await anyio.sleep(delay)
        for event in assembler.out:
            yield event

    async def _answer(self, model: Model, context: Context, options: StreamOptions) -> tuple[Answer, float, int]:
        """The answer, the seconds between its pieces, and which attempt at it this is."""
        pace = self._config.options.get("pace", _PACE)
        if isinstance(pace, bool) or not isinstance(pace, int | float) or not 0 <= pace <= 60:
            path = "providers.demo.options.pace"
            raise KodaError("params.invalid", f"{path} must be 0 to 60 seconds.", path=path)
        match model.id:
            case "echo":
                return Answer(steps=(Text(text=_last_prompt(context) or "(nothing was said)"),)), pace, 0
            case "koda":
                from koda_daemon.ai.demo_agent import decide

                python = "python" if os.name == "nt" else "python3"
                return Answer(steps=await anyio.to_thread.run_sync(decide, context, python)), pace, 0
            case "scripted":
                name, script = await self._script(options)
                number, _ = _heard(context.messages)
                answer = script.answer(number)
                return answer, script.pace, self._attempt(name, number, answer, context, options)
            case _:
                raise KodaError("model.unknown", f"The demo provider has no model {model.id!r}: koda, scripted, echo.")

    async def _script(self, options: StreamOptions) -> tuple[str, Script]:
        source: Any = options.extra.get("script") or self._config.options.get("script")
        if isinstance(source, dict):
            return "(options)", read_script(source, "(options)")
        if not isinstance(source, str):
            raise KodaError(
                "params.invalid",
                "demo/scripted has no script.",
                user_action=f"Name a JSON file in providers.demo.options.script or in {SCRIPT_VARIABLE}.",
                path="providers.demo.options.script",
            )
        return source, await anyio.to_thread.run_sync(load_script, source)

    def _attempt(self, name: str, number: int, answer: Answer, context: Context, options: StreamOptions) -> int:
        if not answer.attempts:
            return 0
        key = name, options.cache_key or _last_prompt(context)
        last, count = self._attempts.get(key, (number, 0))
        if last != number:
            count = 0  # the conversation went on
        if len(self._attempts) > 1000:
            self._attempts.clear()
        self._attempts[key] = number, count + 1
        return count


def _play(answer: Answer, attempt: int, assembler: Assembler, context: Context) -> Iterator[float | None]:
    """Feeds the assembler; pauses where time may pass: for given seconds, or (None) for the usual pace."""
    steps = answer.attempt(attempt)
    if steps and isinstance(steps[0], Failure):
        assembler.failed(_error(steps[0]))
        return
    assembler.start()
    yield 0.0
    for step in steps:
        match step:
            case Text() | Thinking():
                part = None
                for _ in range(step.repeat if isinstance(step, Text) else 1):
                    for piece in _pieces(step.text, step.chunk):
                        part = part or assembler.begin("text" if isinstance(step, Text) else "thinking")
                        assembler.add(part, piece)
                        yield None
                if part is not None:
                    if isinstance(step, Thinking):
                        part.signature = step.signature
                    assembler.end(part)
            case Call():
                part = assembler.begin_call(step.call_id or "", step.tool)
                raw = step.raw_arguments
                text = msgspec.json.encode(step.arguments or {}).decode() if raw is None else raw
                for piece in _pieces(text, step.chunk):
                    assembler.add(part, piece)
                    yield None
                assembler.end(part, cut=answer.stop_reason == "length")
            case Delay():
                yield step.seconds
            case Failure():
                assembler.failed(_error(step))
                return
            case Cut():
                assembler.failed(KodaError("provider.unreachable", "The script cut the answer off.", retryable=True))
                return
    assembler.usage = _usage(answer, steps, context)
    default: StopReason = "toolUse" if assembler.has_calls else "end"
    assembler.done(answer.stop_reason or default)


def _error(step: Failure) -> KodaError:
    return KodaError(step.kind, step.message, retryable=step.retryable, retry_after=step.retry_after)


def _pieces(text: str, size: int) -> Iterator[str]:
    if size <= 0 or len(text) <= size:
        if text:
            yield text
        return
    for start in range(0, len(text), size):
        yield text[start : start + size]


def _usage(answer: Answer, steps: tuple[Any, ...], context: Context) -> Usage:
    """Estimates (four characters a token), unless the script states numbers."""
    given = answer.usage
    said = sum(
        len(step.text) * (step.repeat if isinstance(step, Text) else 1)
        for step in steps
        if isinstance(step, Text | Thinking)
    )
    said += sum(
        len(step.tool) + len(str(step.arguments or step.raw_arguments or ""))
        for step in steps
        if isinstance(step, Call)
    )
    heard = len(context.system) + _heard(context.messages)[1]
    if given is None:
        return Usage(input=heard // 4, output=said // 4)
    return Usage(
        heard // 4 if given.input is None else given.input,
        said // 4 if given.output is None else given.output,
        given.cache_read,
        given.cache_write,
        given.reasoning,
    )


_last_heard: tuple[list[Message], int, int] = ([], 0, 0)


def _heard(messages: Sequence[Message]) -> tuple[int, int]:
    """The answers in a conversation, and its length in characters. Goes on from what was counted last: a long
    conversation must not make a model slow whose answers take no time."""
    global _last_heard
    known, answers, length = _last_heard
    begins = list(messages[: len(known)])
    if begins != known:  # compares the same objects, which costs nanoseconds
        begins, answers, length = [], 0, 0
    for message in messages[len(begins) :]:
        begins.append(message)
        answers += isinstance(message, AssistantMessage) and message.stop_reason != "error"
        length += _length(message)
    _last_heard = begins, answers, length
    return answers, length


def _length(message: Message) -> int:
    if isinstance(message, AssistantMessage):
        return sum(
            len(str(b.arguments)) if isinstance(b, ToolCall) else 0 if isinstance(b, ThinkingBlock) else len(b.text)
            for b in message.content
        )
    return len(text_of(message.content))


def _last_prompt(context: Context) -> str:
    return next((text_of(m.content) for m in reversed(context.messages) if isinstance(m, UserMessage)), "")
