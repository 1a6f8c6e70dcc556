"""Signing in and out through the real daemon and the real command line, at providers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.ai.auth.provider import Asked, FakeProvider, Reply, fake_provider, visit
from tests.e2e.koda import Koda, daemon
from tests.harness.client import Message, RefusedError, clean_environment

KEY = "sk-given-0123456789abcdef"
OFF = {"KODA_KEYRING": "off"}
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


def settings(provider: FakeProvider) -> dict[str, Any]:
    """Settings that send every sign-in to the fake one."""
    return {"providers": {name: {"options": {"oauth": options}} for name, options in provider.oauth().items()}}


@asynccontextmanager
async def signing_in(tmp_path: Path, provider: FakeProvider, **env: str) -> AsyncIterator[Koda]:
    async with daemon(tmp_path, settings=settings(provider), env=OFF | env) as koda:
        yield koda


async def changed(koda: Koda, count: int = 1) -> dict[str, Any]:
    """The ``count``-th notification of a change."""
    found: list[Message] = []

    def is_it(message: Message) -> bool:
        if message.get("method") == "koda/auth/changed" and message not in found:
            found.append(message)
        return len(found) == count

    params: dict[str, Any] = (await koda.raw.wait_for(is_it, 10))["params"]
    return params


async def status(koda: Koda, provider: str) -> dict[str, Any]:
    [found] = (await koda.request("koda/auth/status", provider=provider))["providers"]
    assert found.pop("provider") == provider
    return dict(found)


@pytest.mark.asyncio
async def test_where_credentials_come_from(tmp_path: Path) -> None:
    own = {"providers": {"lab": {"baseUrl": "http://127.0.0.1:9/v1", "apiKey": "dummy"}}}
    async with daemon(tmp_path, settings=own, env=OFF | {"GROQ_API_KEY": KEY}) as koda:
        everyone = {one["provider"]: one for one in (await koda.request("koda/auth/status"))["providers"]}
        assert everyone["groq"] == {"provider": "groq", "status": "ok", "source": "environment", "methods": ["apiKey"]}
        assert (everyone["lab"]["status"], everyone["lab"]["source"]) == ("ok", "settings")
        assert (everyone["ollama"]["status"], everyone["ollama"]["source"]) == ("ok", "none")
        assert everyone["demo"]["methods"] == []
        assert await status(koda, "openrouter") == {
            "status": "missing",
            "source": "none",
            "methods": ["apiKey", "oauth"],
        }
        for method in ("status", "login", "logout"):
            with pytest.raises(RefusedError) as caught:
                await koda.request(f"koda/auth/{method}", provider="nobody")
            assert (caught.value.code, caught.value.data["path"]) == (-32602, "$.provider")


@pytest.mark.asyncio
async def test_an_api_key_is_stored_encrypted_and_outlives_the_daemon(tmp_path: Path) -> None:
    async with daemon(tmp_path, env=OFF) as koda:
        assert await koda.request("koda/auth/login", provider="groq", apiKey=f" {KEY}\n") == {"status": "ok"}
        assert await changed(koda) == {"provider": "groq", "status": "ok"}
    for path in (tmp_path / "home" / ".koda").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    async with daemon(tmp_path, env=OFF) as koda:
        found = await status(koda, "groq")
        assert re.fullmatch(ISO, found.pop("since"))
        assert found == {"status": "ok", "source": "file", "methods": ["apiKey"]}
        assert await koda.request("koda/auth/logout", provider="groq") == {"removed": True}
        assert await changed(koda) == {"provider": "groq", "status": "missing"}
        assert await koda.request("koda/auth/logout", provider="groq") == {"removed": False}
        assert (await status(koda, "groq"))["status"] == "missing"


@pytest.mark.asyncio
async def test_a_damaged_file_is_told_by_the_turn_that_needs_it(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".koda"
    home.mkdir(parents=True)
    (home / "credentials.enc").write_bytes(b'{"version": 1, "entr')
    async with daemon(tmp_path, env=OFF | {"XAI_API_KEY": KEY}) as koda:
        session = await koda.new(model="groq/m")
        await koda.prompt(session, "Hello")
        error = koda.transcript(session).of("turn.ended")[0]["error"]
        assert error["kind"] == "auth.required"
        assert "credentials.enc cannot be read: it is damaged" in error["message"]
        assert (await status(koda, "xai"))["status"] == "ok"


@pytest.mark.asyncio
async def test_what_is_no_key(tmp_path: Path) -> None:
    async with daemon(tmp_path, env=OFF) as koda:
        given: list[dict[str, Any]] = [
            {"apiKey": ""},
            {"apiKey": "two words"},
            {"apiKey": KEY, "code": "x"},
            {"apiKey": KEY, "cancel": True},
            {"code": "x"},
        ]
        for wrong in given:
            with pytest.raises(RefusedError) as caught:
                await koda.request("koda/auth/login", provider="groq", **wrong)
            assert caught.value.code == -32602


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["anthropic", "google"])
async def test_plans_that_are_not_ours_to_use(tmp_path: Path, name: str) -> None:
    async with daemon(tmp_path, env=OFF) as koda:
        with pytest.raises(RefusedError) as caught:
            await koda.request("koda/auth/login", provider=name)
        assert caught.value.data["path"] == "$.apiKey"
        assert "does not permit" in caught.value.message


@pytest.mark.asyncio
async def test_signing_in_on_a_page_that_the_client_opens(tmp_path: Path, provider: FakeProvider) -> None:
    async with daemon(tmp_path, settings=settings(provider), env=OFF, initialize=False) as koda:
        opened: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def open_page(params: dict[str, Any]) -> dict[str, Any]:
            opened.set_result(params)
            return {"success": True}

        koda.raw.on_request("window/showDocument", open_page)
        await koda.initialize({"experimental": {"koda": {}}, "window": {"showDocument": {"support": True}}})
        answer = await koda.request("koda/auth/login", provider="openai")
        shown = await asyncio.wait_for(opened, 20)
        assert (shown["uri"], shown["external"]) == (answer["url"], True)
        assert (await visit(provider.consent(answer["url"])))[0] == 200
        assert await changed(koda) == {"provider": "openai", "status": "ok"}
        found = await status(koda, "openai")
        assert (found["source"], found["account"]) == ("oauth", "ada@example.org")
        assert re.fullmatch(ISO, found["since"])
        assert re.fullmatch(ISO, found["expiresAt"])
        assert await koda.request("koda/auth/logout", provider="openai") == {"removed": True}
        assert provider.count("/revoke") == 1


@pytest.mark.asyncio
async def test_signing_in_from_another_machine(tmp_path: Path, provider: FakeProvider) -> None:
    async with signing_in(tmp_path, provider) as koda:
        answer = await koda.request("koda/auth/login", provider="openrouter")
        with pytest.raises(RefusedError) as caught:
            await koda.request("koda/auth/login", provider="openrouter", code="http://127.0.0.1/?code=x")
        assert caught.value.data["path"] == "$.code"
        pasted = provider.consent(answer["url"])
        assert await koda.request("koda/auth/login", provider="openrouter", code=pasted) == {"status": "pending"}
        assert await changed(koda) == {"provider": "openrouter", "status": "ok"}
        assert (await status(koda, "openrouter"))["source"] == "file"


@pytest.mark.asyncio
async def test_signing_in_with_a_device(tmp_path: Path, provider: FakeProvider) -> None:
    provider.device = [{"error": "authorization_pending"}]
    async with signing_in(tmp_path, provider) as koda:
        answer = await koda.request("koda/auth/login", provider="github-copilot")
        assert (answer["status"], answer["userCode"]) == ("pending", "WDJB-MJHT")
        assert await changed(koda) == {"provider": "github-copilot", "status": "ok"}
        assert (await status(koda, "github-copilot"))["account"] == "octocat"


@pytest.mark.asyncio
async def test_a_refused_sign_in_is_told(tmp_path: Path, provider: FakeProvider) -> None:
    async with signing_in(tmp_path, provider) as koda:
        answer = await koda.request("koda/auth/login", provider="openrouter")
        await visit(provider.refuse(answer["url"]))
        told = await changed(koda)
        assert (told["status"], told["error"]["kind"]) == ("missing", "permission.denied")


@pytest.mark.asyncio
async def test_a_turn_that_a_chatgpt_plan_pays_for(tmp_path: Path, provider: FakeProvider) -> None:
    """From signing in to the answer, over a token that is refused on the way."""
    text = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Paid by the plan."}]}
    heard: list[Asked] = []

    async def answer(asked: Asked) -> Reply | None:
        if asked.path != "/v1/responses":
            return None
        heard.append(asked)
        if len(heard) == 1:
            return 401, {"error": {"code": "subscription_sharing_invalid_user"}}
        return 200, {"object": "response", "status": "completed", "output": [text]}

    provider.answer = answer
    whole = settings(provider) | {"retry": {"base_delay": 0.01}}
    whole["providers"]["openai"]["baseUrl"] = f"{provider.url}/v1"
    async with daemon(tmp_path, settings=whole, env=OFF | {"KODA_OFFLINE": "1"}) as koda:
        answered = await koda.request("koda/auth/login", provider="openai")
        await visit(provider.consent(answered["url"]))
        await changed(koda)
        ended = await koda.prompt(await koda.new(model="openai/gpt-5"), "Hello")
        assert (ended["stopReason"], ended["text"]) == ("end", "Paid by the plan.")
    first, second = (asked.headers["authorization"] for asked in heard)
    assert first != second
    body = json.loads(heard[1].body)
    assert body["input"][0]["role"] == "developer"
    assert [tool["type"] for tool in body["tools"]] == ["namespace"]
    assert {tool["name"] for tool in body["tools"][0]["tools"]} >= {"read", "bash"}
    assert "max_output_tokens" not in body


@pytest.mark.asyncio
async def test_giving_a_sign_in_up(tmp_path: Path, provider: FakeProvider) -> None:
    """Two at once do not disturb each other; what is stored stays."""
    async with signing_in(tmp_path, provider) as koda:
        await koda.request("koda/auth/login", provider="openrouter", apiKey=KEY)
        first = await koda.request("koda/auth/login", provider="openrouter")
        second = await koda.request("koda/auth/login", provider="openai")
        device = await koda.request("koda/auth/login", provider="github-copilot")
        assert await koda.request("koda/auth/login", provider="openrouter", cancel=True) == {"status": "cancelled"}
        assert await koda.request("koda/auth/login", provider="openrouter", cancel=True) == {"status": "ok"}
        told = [message["params"] for message in koda.raw.messages if message.get("method") == "koda/auth/changed"]
        [given_up] = [one for one in told if "error" in one]
        assert (given_up["provider"], given_up["status"]) == ("openrouter", "ok")
        assert given_up["error"]["kind"] == "permission.denied"
        with pytest.raises(OSError):  # refused or reset, as the system likes
            await visit(provider.consent(first["url"]))
        assert (await status(koda, "openrouter"))["source"] == "file"
        assert device["userCode"]
        assert (await visit(provider.consent(second["url"])))[0] == 200


@pytest.mark.asyncio
async def test_a_daemon_that_ends_in_mid_sign_in_ends_at_once(tmp_path: Path, provider: FakeProvider) -> None:
    async with signing_in(tmp_path, provider) as koda:
        await koda.request("koda/auth/login", provider="openrouter")
        await koda.request("koda/auth/login", provider="openai")
        await koda.request("shutdown")
        koda.raw.notify("exit")
        assert await koda.raw.wait_exit(2) == 0


# -- the command line


def koda_daemon(home: Path, *arguments: str, said: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "koda_daemon", *arguments],
        input=said,
        capture_output=True,
        text=True,
        env=clean_environment(home, OFF | env),
        check=False,
        timeout=60,
    )


def test_the_command_line_takes_keys_from_stdin(tmp_path: Path) -> None:
    done = koda_daemon(tmp_path, "login", "groq", said=f"{KEY}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Signed in to Groq" in done.stdout
    assert "credentials.key beside it" in done.stdout
    assert "KODA_KEYRING is off" in done.stdout
    done = koda_daemon(tmp_path, "login", "openrouter", "--key", said=KEY, KODA_PASSPHRASE="correct horse")
    assert "encrypted with KODA_PASSPHRASE" in done.stdout
    shown = json.loads(koda_daemon(tmp_path, "auth", "--json").stdout)
    assert [(one["provider"], one["status"], one["source"]) for one in shown] == [
        ("openrouter", "missing", "file"),  # without its passphrase
        ("groq", "ok", "file"),
    ]
    assert "KODA_PASSPHRASE is not set" in koda_daemon(tmp_path, "auth").stdout
    assert re.search(rf"groq +file +since {ISO}\n", koda_daemon(tmp_path, "auth").stdout)
    assert koda_daemon(tmp_path, "logout", "groq").stdout == "Signed out of Groq.\n"
    assert koda_daemon(tmp_path, "logout", "groq").stdout == "Nothing was stored.\n"
    everyone = koda_daemon(tmp_path, "auth", "--all").stdout
    assert "ollama" in everyone
    assert KEY not in everyone


def test_the_command_line_takes_no_key_as_an_argument(tmp_path: Path) -> None:
    for arguments in (["groq", KEY], [KEY], [f"--key={KEY}", "groq"]):
        for command in ("login", "logout", "auth"):
            done = koda_daemon(tmp_path, command, *arguments)
            assert done.returncode == 2
            assert KEY not in done.stdout + done.stderr
    assert koda_daemon(tmp_path, "login", "groq", said="two words").returncode == 2


def test_the_command_line_guesses_which_provider_is_meant(tmp_path: Path) -> None:
    done = koda_daemon(tmp_path, "login", "antropic", said=KEY)
    assert (done.returncode, "'antropic'. Did you mean anthropic" in done.stderr) == (2, True)
    done = koda_daemon(tmp_path, "logout", "nobody")
    assert (done.returncode, "There are anthropic, openai," in done.stderr) == (2, True)


def test_the_command_line_says_what_goes_first(tmp_path: Path) -> None:
    done = koda_daemon(tmp_path, "login", "groq", said=KEY, GROQ_API_KEY="of-the-environment")
    assert "GROQ_API_KEY in the environment goes first" in done.stderr
    assert "GROQ_API_KEY in the environment\n" in koda_daemon(tmp_path, "auth", GROQ_API_KEY="x").stdout
    done = koda_daemon(tmp_path, "logout", "groq", GROQ_API_KEY="of-the-environment")
    assert done.stdout == "Signed out of Groq.\n"
    assert "GROQ_API_KEY in the environment is still there" in done.stderr


def test_a_key_in_the_settings_is_named_where_it_is(tmp_path: Path) -> None:
    (tmp_path / ".koda").mkdir()
    (tmp_path / ".koda" / "settings.json").write_text('{"providers": {"groq": {"apiKey": "written-down-0123"}}}')
    done = koda_daemon(tmp_path, "logout", "groq")
    assert done.stdout == "Nothing was stored.\n"
    assert "providers.groq.apiKey in the settings is still there" in done.stderr


async def begun(tmp_path: Path, provider: FakeProvider, name: str) -> tuple[asyncio.subprocess.Process, str]:
    """A ``login`` that waits for its user, and the address that it has shown."""
    home = tmp_path / ".koda"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps(settings(provider)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "koda_daemon", "login", name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean_environment(tmp_path, OFF),
    )
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.strip().startswith("http"):
            return process, line.strip()
    raise AssertionError("it has ended")


@pytest.mark.asyncio
@pytest.mark.parametrize("pasted", [False, True])
async def test_the_command_line_signs_in_on_a_page(tmp_path: Path, provider: FakeProvider, pasted: bool) -> None:
    process, url = await begun(tmp_path, provider, "openai")
    assert process.stdout is not None
    assert process.stdin is not None
    back = provider.consent(url)
    if pasted:
        process.stdin.write(f"nonsense=1\n{back}\n".encode())
        await process.stdin.drain()
    else:
        await visit(back)
    rest = (await process.stdout.read()).decode()
    assert await process.wait() == 0  # although stdin is still open
    assert "Signed in to OpenAI" in rest
    process.stdin.close()
    done = await asyncio.to_thread(koda_daemon, tmp_path, "auth")
    assert "ada@example.org" in done.stdout


@pytest.mark.asyncio
async def test_the_command_line_signs_in_with_a_device(tmp_path: Path, provider: FakeProvider) -> None:
    provider.device = [{"error": "authorization_pending"}, {"error": "authorization_pending"}]
    process, url = await begun(tmp_path, provider, "github-copilot")
    said, problems = (text.decode() for text in await process.communicate())
    assert url == f"{provider.url}/login/device"
    assert "enter the code WDJB-MJHT" in said
    assert "Signed in to GitHub Copilot" in said
    assert (process.returncode, problems) == (0, "")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "said"),
    [("github-copilot", "The sign-in at github-copilot was refused."), ("openrouter", "was refused on the provider")],
)
async def test_the_command_line_says_that_the_user_refused(
    tmp_path: Path, provider: FakeProvider, name: str, said: str
) -> None:
    provider.device = [{"error": "access_denied"}]
    process, url = await begun(tmp_path, provider, name)
    if name == "openrouter":
        await visit(provider.refuse(url))
    _, problems = await process.communicate()
    assert process.returncode == 1
    assert said in problems.decode()
    assert problems.count(b"\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["openai", "github-copilot"])
async def test_the_command_line_can_be_interrupted(tmp_path: Path, provider: FakeProvider, name: str) -> None:
    provider.device = [{"error": "authorization_pending"}] * 10_000
    process, _ = await begun(tmp_path, provider, name)
    process.send_signal(signal.SIGINT)
    _, problems = await process.communicate()
    assert (process.returncode, problems.strip()) == (130, b"koda-daemon: interrupted")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_key_that_is_typed_is_not_shown(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "koda_daemon", "login", "groq"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean_environment(tmp_path, OFF),
            start_new_session=True,
        ) as process:
            os.close(theirs)
            shown = b""
            while b"API key of Groq" not in shown:
                shown += os.read(ours, 1024)
            os.write(ours, f"{KEY}\n".encode())
            with contextlib.suppress(OSError):  # the end, on Linux
                while piece := os.read(ours, 1024):
                    shown += piece
            assert process.wait(20) == 0
    finally:
        os.close(ours)
    assert b"Signed in" in shown
    assert KEY.encode() not in shown
