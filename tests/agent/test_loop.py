"""AgentLoop against scripted streams: what it records, in which order, and what clients are told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from koda_daemon.agent import events as out
from koda_daemon.agent.loop import AgentLoop, AgentLoopConfig
from koda_daemon.agent.retry import RetryPolicy
from koda_daemon.agent.tool import Access, AgentTool, ToolContext, ToolResult
from koda_daemon.ai import events as ai
from koda_daemon.ai.messages import AssistantBlock, AssistantMessage, StopReason, TextBlock, ToolCall, Usage, text_of
from koda_daemon.ai.provider import Context, Model, ToolSpec
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError

MODEL = Model(provider="test", id="model", api="test")
Script = list[Callable[[], AsyncGenerator[ai.StreamEvent]]]


def message(*content: AssistantBlock, stop: StopReason = "end") -> AssistantMessage:
    return AssistantMessage(content=content, model=MODEL.ref, api="test", stop_reason=stop)


async def says(*pieces: str, stop: StopReason = "end") -> AsyncGenerator[ai.StreamEvent]:
    yield ai.Start()
    yield ai.TextStart(0)
    for piece in pieces:
        yield ai.TextDelta(0, piece)
    yield ai.Done(message(TextBlock("".join(pieces)), stop=stop))


async def calls(*made: ToolCall, stop: StopReason = "toolUse") -> AsyncGenerator[ai.StreamEvent]:
    yield ai.Start()
    for index, call in enumerate(made):
        yield ai.ToolCallStart(index, call.call_id, call.tool)
        yield ai.ToolCallEnd(index, call)
    yield ai.Done(message(*made, stop=stop))


async def fails(error: KodaError, *pieces: str) -> AsyncGenerator[ai.StreamEvent]:
    yield ai.TextStart(0)
    for piece in pieces:
        yield ai.TextDelta(0, piece)
    yield ai.StreamError(error)


async def hangs(*pieces: str) -> AsyncGenerator[ai.StreamEvent]:
    yield ai.TextStart(0)
    for piece in pieces:
        yield ai.TextDelta(0, piece)
    await anyio.sleep_forever()


class Echo(AgentTool):
    """Gives its text back; ``gate`` holds it until it is set."""

    spec: ClassVar[ToolSpec] = ToolSpec(
        "echo",
        "Echoes.",
        {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    )

    def __init__(self) -> None:
        self.gates: dict[str, anyio.Event] = {}
        self.ran: list[str] = []
        self.started = anyio.Event()

    def access(self, arguments: dict[str, Any]) -> Access:
        return Access(kind="read")

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        text = arguments["text"]
        self.ran.append(text)
        self.started.set()
        context.output(text)
        if text == "break":
            raise RuntimeError("bang")
        if text in self.gates:
            await self.gates[text].wait()
        return ToolResult.ok(text)


class Notebook:
    """A transcript in memory (``agent.loop.Transcript``)."""

    def __init__(self) -> None:
        self.events: list[out.Event] = []
        self.answers: list[AssistantMessage] = []
        self.results: list[tuple[str, ToolResult]] = []
        self.steering: list[int] = []
        self.spent: list[Usage] = []
        self.room = 0

    async def context(self) -> Context:
        return Context("", [])

    async def record_answer(self, node_id: str, message: AssistantMessage) -> None:
        self.answers.append(message)

    async def record_spent(self, usage: Usage) -> None:
        self.spent.append(usage)

    async def record_result(self, call: ToolCall, result: ToolResult, duration_ms: int) -> None:
        self.results.append((call.call_id, result))

    async def steer(self) -> bool:
        return bool(self.steering and self.steering.pop(0))

    async def make_room(self) -> bool:
        self.room += 1
        return self.room == 1

    def emit(self, event: out.Event) -> None:
        self.events.append(event)

    async def ready(self) -> None:
        await anyio.lowlevel.checkpoint()

    def types(self) -> list[str]:
        return [str(type(event).__struct_config__.tag) for event in self.events]


class Run:
    def __init__(self, script: Script, **options: Any) -> None:
        self.notebook = Notebook()
        self.echo = Echo()
        self.requests = 0
        self.denied: set[str] = set()
        self._script = script
        config = AgentLoopConfig(
            session_id="s",
            turn_id="t",
            model=MODEL,
            stream=self._stream,
            tools={"echo": self.echo},
            authorize=self._authorize,
            **{"retry": RetryPolicy(base_delay=0.001), **options},
        )
        self.loop = AgentLoop(config, self.notebook)

    def _stream(self, context: Context) -> AssistantMessageEventStream:
        made = self._script[min(self.requests, len(self._script) - 1)]
        self.requests += 1
        return AssistantMessageEventStream(made())

    async def _authorize(self, tool: AgentTool, call: ToolCall, arguments: dict[str, Any]) -> dict[str, Any]:
        if call.call_id in self.denied:
            raise KodaError("permission.denied", "No.")
        return arguments


def call(call_id: str, text: Any = "hi", tool: str = "echo") -> ToolCall:
    return ToolCall(call_id, tool, {"text": text})


@pytest.mark.asyncio
async def test_an_answer_without_calls_ends_the_turn() -> None:
    run = Run([lambda: says("a", "😀", "b")])
    assert await run.loop.run() == "end"
    deltas = [event for event in run.notebook.events if isinstance(event, out.TextDeltaEvent)]
    assert [(delta.offset, delta.text) for delta in deltas] == [(0, "a"), (1, "😀"), (3, "b")]
    assert run.notebook.answers[0].text == "a😀b"


@pytest.mark.asyncio
async def test_results_are_recorded_in_the_order_of_the_calls() -> None:
    run = Run([lambda: calls(call("1", "slow"), call("2", "quick")), lambda: says("done")])
    run.echo.gates["slow"] = anyio.Event()

    class Release(Echo):
        async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
            result = await super().run(arguments, context)
            if arguments["text"] == "quick":
                self.gates["slow"].set()
            return result

    run.echo.__class__ = Release
    assert await run.loop.run() == "end"
    assert run.echo.ran == ["slow", "quick"]
    assert [call_id for call_id, _ in run.notebook.results] == ["1", "2"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (call("1", tool="nosuch"), "no tool 'nosuch'"),
        (call("1", text=7), "text: 7 is not of type"),
        (ToolCall("1", "echo", {"text": "x", "more": 1}), "Additional properties"),
        (ToolCall("1", "echo", {}, arguments_error="cut off"), "not a JSON object"),
        (call("1", text="break"), "RuntimeError"),
    ],
)
async def test_a_call_that_cannot_run_becomes_an_error_that_the_model_sees(made: ToolCall, said: str) -> None:
    run = Run([lambda: calls(made), lambda: says("ok")])
    assert await run.loop.run() == "end"
    [(_, result)] = run.notebook.results
    assert result.status == "error"
    assert said in text_of(result.content)


@pytest.mark.asyncio
async def test_calls_of_an_answer_cut_off_by_its_length_are_never_run() -> None:
    run = Run([lambda: calls(call("1"), stop="length"), lambda: says("ok")])
    assert await run.loop.run() == "end"
    assert run.echo.ran == []
    assert "cut off" in text_of(run.notebook.results[0][1].content)


@pytest.mark.asyncio
async def test_a_denied_call_is_told_to_the_model_and_never_started() -> None:
    run = Run([lambda: calls(call("1")), lambda: says("ok")])
    run.denied.add("1")
    assert await run.loop.run() == "end"
    assert run.notebook.results[0][1].status == "denied"
    assert "tool.started" not in run.notebook.types()


@pytest.mark.asyncio
async def test_a_retry_takes_back_what_was_streamed_and_says_so() -> None:
    broken = KodaError("provider.unreachable", "gone", retryable=True)
    run = Run([lambda: fails(broken, "ha"), lambda: says("hello")])
    assert await run.loop.run() == "end"
    assert run.notebook.types() == ["text.delta", "message.discarded", "retry", "text.delta"]
    first, last = run.notebook.events[0], run.notebook.events[-1]
    assert first.node_id == run.notebook.events[1].node_id != last.node_id
    assert [answer.text for answer in run.notebook.answers] == ["hello"]


@pytest.mark.asyncio
async def test_the_last_failed_attempt_is_kept_and_raised() -> None:
    broken = KodaError("provider.overloaded", "busy", retryable=True)
    run = Run([lambda: fails(broken, "ha")], retry=RetryPolicy(max_attempts=2, base_delay=0.001))
    with pytest.raises(KodaError, match="busy"):
        await run.loop.run()
    assert run.requests == 2
    assert run.notebook.types() == ["text.delta", "message.discarded", "retry", "text.delta"]
    assert [(answer.text, answer.stop_reason) for answer in run.notebook.answers] == [("ha", "error")]


@pytest.mark.asyncio
async def test_what_no_retry_can_mend_is_raised_at_once() -> None:
    run = Run([lambda: fails(KodaError("auth.required", "no key"))])
    with pytest.raises(KodaError, match="no key"):
        await run.loop.run()
    assert run.requests == 1


@pytest.mark.asyncio
async def test_an_overflow_makes_room_once() -> None:
    full = KodaError("context.overflow", "too long")
    run = Run([lambda: fails(full), lambda: says("short")])
    assert await run.loop.run() == "end"
    assert (run.requests, run.notebook.room) == (2, 1)

    run = Run([lambda: fails(full)])
    with pytest.raises(KodaError, match="too long"):
        await run.loop.run()
    assert (run.requests, run.notebook.room) == (2, 1)


@pytest.mark.asyncio
async def test_a_stream_that_just_ends_is_a_failed_attempt() -> None:
    async def cut() -> AsyncGenerator[ai.StreamEvent]:
        yield ai.TextDelta(0, "half")

    run = Run([cut, lambda: says("whole")])
    assert await run.loop.run() == "end"
    assert [answer.text for answer in run.notebook.answers] == ["whole"]


@pytest.mark.asyncio
async def test_the_number_of_iterations_is_limited() -> None:
    run = Run([lambda: calls(call("1"))], max_iterations=3)
    assert await run.loop.run() == "maxIterations"
    assert run.requests == 3


@pytest.mark.asyncio
async def test_steering_makes_the_loop_go_on() -> None:
    run = Run([lambda: says("one"), lambda: says("two")])
    run.notebook.steering = [1]
    assert await run.loop.run() == "end"
    assert [answer.text for answer in run.notebook.answers] == ["one", "two"]


@pytest.mark.asyncio
async def test_a_cancelled_answer_is_kept_as_far_as_it_came() -> None:
    run = Run([lambda: hangs("so ", "far")])
    with anyio.CancelScope() as scope:
        run.notebook.ready = cancel_after(run.notebook, 2, scope)  # type: ignore[method-assign]
        await run.loop.run()
    assert [(answer.text, answer.stop_reason) for answer in run.notebook.answers] == [("so far", "cancelled")]


def cancel_after(notebook: Notebook, events: int, scope: anyio.CancelScope) -> Callable[[], Any]:
    async def ready() -> None:
        if len(notebook.events) >= events:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    return ready


@pytest.mark.asyncio
async def test_cancelling_a_turn_leaves_a_result_for_every_call() -> None:
    run = Run([lambda: calls(call("1", "slow"), call("2", "quick"))])
    run.echo.gates["slow"] = anyio.Event()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(run.loop.run)
            await run.echo.started.wait()
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert [(call_id, result.status) for call_id, result in run.notebook.results] == [("1", "cancelled"), ("2", "ok")]


@pytest.mark.asyncio
async def test_one_call_can_be_cancelled_and_the_turn_goes_on() -> None:
    run = Run([lambda: calls(call("1", "slow")), lambda: says("went on")])
    run.echo.gates["slow"] = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(run.loop.run)
        await run.echo.started.wait()
        assert run.loop.cancel_tool("1")
        assert not run.loop.cancel_tool("2")
    assert run.notebook.results[0][1].status == "cancelled"
    assert run.notebook.answers[-1].text == "went on"


@pytest.mark.asyncio
async def test_whoever_joins_is_told_what_is_under_way() -> None:
    run = Run([lambda: calls(call("1", "slow")), lambda: hangs("so ", "far")])
    run.echo.gates["slow"] = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(run.loop.run)
        await run.echo.started.wait()
        started, output = run.loop.live_events()
        assert isinstance(started, out.ToolStarted)
        assert isinstance(output, out.ToolOutput)
        assert output.text == "slow"
        run.echo.gates["slow"].set()
        await anyio.wait_all_tasks_blocked()
        [text] = run.loop.live_events()
        assert isinstance(text, out.TextDeltaEvent)
        assert (text.offset, text.text) == (0, "so far")
        group.cancel_scope.cancel()


def test_delays_grow_have_jitter_and_respect_the_provider() -> None:
    policy = RetryPolicy(max_attempts=4, base_delay=1.0, max_delay=10.0)
    again = KodaError("rate.limited", "later", retryable=True)
    first, second = policy.delay(1, again), policy.delay(2, again)
    assert first is not None
    assert second is not None
    assert 0.75 <= first <= 1.25
    assert 1.5 <= second <= 2.5
    assert policy.delay(1, KodaError("rate.limited", "later", retryable=True, retry_after=5)) == 5
    assert policy.delay(1, KodaError("rate.limited", "later", retryable=True, retry_after=99)) == 10
    assert policy.delay(4, again) is None
    assert policy.delay(1, KodaError("auth.required", "never")) is None
