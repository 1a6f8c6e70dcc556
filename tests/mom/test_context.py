"""ContextManager: kept up to date node by node, it always says what the whole path says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from koda_daemon.ai.messages import AssistantMessage, Usage
from koda_daemon.mom.context import GO_ON, REPORT_CUTS, ContextManager
from koda_daemon.session.nodes import Node
from koda_daemon.session.session import Session
from koda_daemon.session.tokens import calibration, window_tokens
from koda_daemon.session.window import effective_path, messages_of
from tests.session.builders import assistant, call, chain, compaction, note, opened, result, user


def manager(session: Session) -> ContextManager:
    return ContextManager(session, system="You are a test.", tools=[])


async def append(session: Session, context: ContextManager, node: Node) -> None:
    await session.append(node)
    context.added(node)


def grown(kind: str, head: str | None, number: int, path: list[Node]) -> Node:
    """A node of that kind at the head."""
    match kind:
        case "user":
            return user(head, "x" * (number * 40))
        case "answer":
            return assistant(head, "y" * number, usage=Usage(input=100 + number * 20))
        case "cut off":
            return assistant(head, "z", stop="cancelled")
        case "call":
            return assistant(head, call(f"c{number}"), usage=Usage(input=50 + number))
        case "result":
            return result(head, f"c{number}", "r" * number)
        case "note":
            return note(head, "for people")
        case "edit":
            target = path[number % len(path)].id if path else "none"
            return note(head, "", details={"contextEdit": {"targetId": target, "replacement": None}})
        case _:
            kept = path[number % len(path)].id if path and number % 3 else None
            return compaction(head, "s" * number, kept)


KINDS = ("user", "answer", "cut off", "call", "result", "note", "edit", "compaction", "checkout", "release")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 60)), max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_happens_the_window_is_that_of_the_whole_path(story: list[tuple[str, int]]) -> None:
    async def run() -> None:
        async with opened() as sessions:
            session = await sessions.create(cwd="/w", model="demo/one")
            context = manager(session)
            overhead = (await context.tokens()) if session.head_id is None else 0
            for kind, number in story:
                nodes = list(session.tree)
                if kind == "checkout":
                    await session.set_head(nodes[number % len(nodes)].id if nodes and number % 5 else None)
                elif kind == "release":
                    context.release()
                else:
                    await append(session, context, grown(kind, session.head_id, number, await session.path()))
                whole = await session.path() if session.head_id is not None else []
                expected = messages_of(effective_path(whole))
                window = list((await context.window()).messages)
                if expected and isinstance(expected[-1], AssistantMessage):
                    expected.append(GO_ON)
                assert window == expected
                tokens = window_tokens(whole, ratio=context.ratio, overhead=overhead)
                assert await context.tokens() == tokens

    asyncio.run(run())


@pytest.mark.asyncio
async def test_messages_stay_the_same_objects() -> None:
    async with opened() as sessions:
        session = await sessions.create(cwd="/w", model="demo/one")
        context = manager(session)
        before: list[Any] = []
        for node in chain(
            user(None, "a"), compaction(None, "s", None), user(None, "b"), assistant(None, "c"), user(None)
        ):
            await append(session, context, node)
            window = list((await context.window()).messages)
            if node.kind != "compaction":
                known = [each for each in before if each is not GO_ON]
                assert all(now is then for now, then in zip(window, known, strict=False))
            before = window


@pytest.mark.asyncio
async def test_a_compaction_lets_go_of_what_it_replaced_and_keeps_the_ratio() -> None:
    async with opened() as sessions:
        session = await sessions.create(cwd="/w", model="demo/one")
        context = manager(session)
        measured = 0
        for _ in range(30):
            await append(session, context, user(session.head_id, "x" * 4000))
            measured += 2000
            await append(session, context, assistant(session.head_id, "", usage=Usage(input=measured)))
        ratio = context.ratio
        assert ratio == pytest.approx(calibration(await session.path()))
        assert ratio > 1.5
        kept = (await session.path())[-2]
        node = compaction(session.head_id, "Summary", kept.id)
        expected = await context.tokens_with(node)
        assert 1_900 < expected < 2_100, "the provider's count but for what leaves, by the ratio"
        await append(session, context, replace(node, details={"tokensAfter": expected}))
        assert await context.tokens() == expected < 3_000
        assert [each.id for each in await context.live_path()] == [kept.id, node.parent_id, node.id]
        assert context.ratio == ratio


@pytest.mark.asyncio
async def test_the_report_names_what_was_cut() -> None:
    async with opened() as sessions:
        session = await sessions.create(cwd="/w", model="demo/one")
        context = manager(session)
        for number in range(REPORT_CUTS + 50):
            await append(session, context, user(session.head_id, f"{number}"))
        last = user(session.head_id, "kept")
        await append(session, context, last)
        await append(session, context, compaction(session.head_id, "Summary", last.id))
        report = await context.report()
        assert [part.kind for part in report.parts] == ["system", "tools", "summary", "user"]
        assert report.parts[-1].node_id == last.id
        assert len(report.cut) == REPORT_CUTS + 1
        assert report.cut[0].node_id is None
        assert report.cut[0].tokens == 50 * report.cut[1].tokens
        assert report.estimated
        assert sum(part.tokens for part in report.parts) == report.tokens


@pytest.mark.asyncio
async def test_the_parts_add_up_to_what_the_provider_measured() -> None:
    async with opened() as sessions:
        session = await sessions.create(cwd="/w", model="demo/one")
        context = manager(session)
        for number in range(1, 8):
            await append(session, context, user(session.head_id, "x" * 997))
            await append(session, context, assistant(session.head_id, "y", usage=Usage(input=number * 1000 + 7)))
            report = await context.report()
            assert not report.estimated
            assert sum(part.tokens for part in report.parts) == report.tokens == number * 1000 + 7
