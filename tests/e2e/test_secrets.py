"""No secret leaves the daemon: planted ones, providers that quote them back, and everything that can be read."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from koda_daemon.session.export import ExportFormat, export_session
from koda_daemon.session.manager import SessionManager
from tests.ai.auth.provider import Asked, FakeProvider, Reply, fake_provider, visit
from tests.e2e.koda import Koda, daemon
from tests.harness.client import RefusedError, clean_environment, frame

PLANTED = {
    "environment": "planted-xai-0123456789abcdef",
    "settings": "planted-literal-0123456789abcdef",
    "header": "planted-header-0123456789abcdef",
    "command": "planted-command-0123456789abcdef",
    "stored": "planted-stored-0123456789abcdef",
    "passphrase": "planted-passphrase-0123456789",
    "github": "gho_0123456789abcdef",
    "named": "planted-named-0123456789abcdef",
    "odd": "planted-odd-0123456789abcdef",
    "address": "planted-address-0123456789",
    "proxy": "planted-proxy-0123456789",
    "aws": "planted+aws/0123456789abcdef",
    "session": "planted-session-0123456789abcdef",
}
ENVIRON = {
    "KODA_KEYRING": "off",
    "KODA_LOG": "debug",
    "KODA_OFFLINE": "1",
    "KODA_PASSPHRASE": PLANTED["passphrase"],
    "XAI_API_KEY": PLANTED["environment"],
    "COPILOT_GITHUB_TOKEN": PLANTED["github"],
    "WHATEVER": PLANTED["named"],
    "HTTPS_PROXY": f"http://me:{PLANTED['proxy']}@127.0.0.1:9",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIA0123456789ABCDEF",
    "AWS_SECRET_ACCESS_KEY": PLANTED["aws"],
    "AWS_SESSION_TOKEN": PLANTED["session"],
}
ROWS = ("xai", "lab", "cmd", "groq", "openai", "github-copilot", "claude", "named", "walled", "far", "bedrock")
FORMS: tuple[Callable[[str], str], ...] = (
    str,
    lambda secret: b64encode(secret.encode()).decode(),
    lambda secret: b64encode(f"me:{secret}".encode()).decode(),
    lambda secret: quote(secret, safe=""),
    lambda secret: f"{secret[:10]}********{secret[-4:]}",
    lambda secret: f"{secret[:8]}...{secret[-4:]}",
)
"""How servers quote keys."""


def settings(provider: FakeProvider) -> dict[str, Any]:
    url = f"{provider.url}/v1"
    rows: dict[str, Any] = {name: {"baseUrl": url, "models": [{"id": "any"}]} for name in ROWS}
    rows["lab"] |= {"apiKey": PLANTED["settings"], "headers": {"x-api-key": PLANTED["header"]}}
    rows["cmd"] |= {"apiKey": f"!echo {PLANTED['command']}"}
    rows["named"] |= {"apiKey": "$WHATEVER", "headers": {"x-team": PLANTED["odd"]}}
    rows["walled"] |= {"baseUrl": url.replace("//", f"//me:{PLANTED['address']}@"), "apiKey": PLANTED["settings"]}
    rows["far"] |= {"baseUrl": "https://far.invalid/v1", "apiKey": PLANTED["settings"]}
    rows["bedrock"] |= {"baseUrl": f"{provider.url}/v1"}
    rows["claude"] |= {"api": "anthropic-messages", "apiKey": PLANTED["settings"]}
    for name, options in provider.oauth().items():
        rows.setdefault(name, {})["options"] = {"oauth": options}
    return {"providers": rows, "retry": {"base_delay": 0.01}}


class Leaky:
    """A provider whose every answer repeats what it was sent, in all the ways that errors come."""

    def __init__(self) -> None:
        self.quoted: set[str] = set()
        self._count = 0

    async def answer(self, asked: Asked) -> Reply | None:
        if not asked.path.startswith("/v1/") or asked.path == "/v1/models":
            return None
        names = ("authorization", "x-api-key", "x-team", "x-amz-security-token")
        sent = [asked.headers.get(name, "") for name in names]
        keys = [
            word for text in sent if "AWS4-" not in text for word in text.split() if word not in ("Bearer", "Basic")
        ]
        self.quoted.update(keys)
        self._count += 1
        heard = " ".join(form(key) for form in FORMS for key in keys)
        status = (401, 400, 500, 403, 429, 404)[self._count % 6]
        text = f"I was sent {heard} and refuse it"
        body: dict[str, Any] | bytes = {"error": {"message": text, "type": "invalid", "param": heard}}
        return status, body if self._count % 2 else text.encode()


async def sign_in(koda: Koda, provider: FakeProvider) -> list[str]:
    """Signs in everywhere; gives the secrets that this made."""
    await koda.request("koda/auth/login", provider="groq", apiKey=PLANTED["stored"])
    answer = await koda.request("koda/auth/login", provider="openai")
    pasted = provider.consent(answer["url"])
    await visit(pasted)
    await koda.raw.wait_for(lambda message: message.get("method") == "koda/auth/changed" and _of_openai(message), 10)
    return [pasted.partition("code=")[2].partition("&")[0], *provider.refresh_tokens]


def _of_openai(message: dict[str, Any]) -> bool:
    return bool(message["params"]["provider"] == "openai")


@pytest.mark.asyncio
async def test_no_secret_leaves(tmp_path: Path) -> None:
    leaky = Leaky()
    async with fake_provider() as provider:
        provider.answer = leaky.answer
        async with daemon(tmp_path, settings=settings(provider), env=ENVIRON) as koda:
            made = await sign_in(koda, provider)
            for name in ROWS:
                session = await koda.new(model=f"{name}/any")
                for _ in range(2):
                    ended = await koda.prompt(session, "Hello")
                    assert ended["stopReason"] == "error", name
                await koda.request("koda/session/open", sessionId=session)
                await koda.request("koda/diagnose", sessionId=session)
            for method in (
                "koda/auth/status",
                "koda/model/list",
                "koda/option/list",
                "koda/session/list",
                "koda/usage",
            ):
                await koda.request(method)
            await wrong_requests(koda)
            ours = psutil.Process(koda.raw.pid)
            said = json.dumps(koda.raw.messages)
            said += " ".join(word for process in (ours, *ours.children(recursive=True)) for word in process.cmdline())
        said += koda.raw.stderr.decode()
        assert koda.raw.garbage is None
        said += await asyncio.to_thread(command_line, tmp_path)
    said += await exports(tmp_path / "home" / ".koda" / "sessions.db", list(koda.sessions))
    secrets = [*PLANTED.values(), *made, *leaky.quoted]
    sent = ("environment", "settings", "header", "command", "stored", "named", "odd", "session")
    assert {PLANTED[name] for name in sent} <= leaky.quoted
    assert any(b64encode(f"me:{PLANTED['address']}".encode()).decode() in quoted for quoted in leaky.quoted)
    assert any(secret.startswith("access-") for secret in leaky.quoted)
    assert any(secret.startswith("tid=") for secret in leaky.quoted)
    assert "DEBUG" in said
    for shown in (form(secret) for secret in secrets for form in FORMS):
        assert shown not in said, said[max(0, said.index(shown) - 300) : said.index(shown) + 100]
    on_disk = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.name != "settings.json"]
    assert any(path.name == "credentials.enc" for path in on_disk)
    for path in on_disk:
        data = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data], path


async def wrong_requests(koda: Koda) -> None:
    """Requests whose errors might repeat what was sent."""
    key = PLANTED["stored"]
    wrong: list[dict[str, Any]] = [
        {"provider": 5, "apiKey": key},
        {"provider": "groq", "apiKey": [key]},
        {"provider": "groq", "apiKey": key, "more": key},
        {"provider": "groq", "apiKey": f"{key} {key}"},
        {"provider": "groq", "apiKey": key, "code": key},
        {"provider": "openrouter", "code": key},
    ]
    for params in wrong:
        with pytest.raises(RefusedError):
            await koda.raw.request("koda/auth/login", params)
    koda.raw.send_bytes(
        frame(b'{"jsonrpc":"2.0","id":77,"method":"koda/auth/login","params":{"apiKey":"%b"' % key.encode())
    )
    koda.raw.send_bytes(frame(b'[{"apiKey":"%b"}]' % key.encode()))
    await koda.request("koda/auth/status")


async def exports(path: Path, sessions: list[str]) -> str:
    """Every session, in every form."""
    manager = await SessionManager.open(path)
    try:
        forms: tuple[ExportFormat, ...] = ("jsonl", "markdown", "html")
        texts = [await export_session(await manager.load(one), form) for one in sessions for form in forms]
    finally:
        await manager.aclose()
    assert len(texts) == 3 * len(ROWS)
    assert all("Hello" in text for text in texts)
    return "".join(texts)


def command_line(tmp_path: Path) -> str:
    """What the commands say, and what a command of a model can see."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "koda_daemon", *arguments],
            capture_output=True,
            text=True,
            env=clean_environment(tmp_path / "home", ENVIRON),
            cwd=tmp_path,
            check=False,
            timeout=60,
        )
        return done.stdout + done.stderr

    seen = run("tool", "run", "bash", "--args", '{"command": "env; ps -ef"}')
    assert "PATH=" in seen
    shown = [run(*arguments) for arguments in (["doctor", "--json"], ["doctor"], ["auth", "--all"], ["auth", "--json"])]
    assert all("groq" in one for one in shown)
    return seen + "".join(shown)
