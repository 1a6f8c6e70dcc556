"""AuthStorage: which credential a request gets, and what signing in and out does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.auth import ApiKey, Credential, OAuthTokens
from koda_daemon.ai.auth.storage import AuthStorage
from koda_daemon.ai.auth.system_keyring import SystemKeyring
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.base.errors import KodaError
from tests.ai.auth.keyrings import LockedKeyring, MemoryKeyring
from tests.ai.auth.provider import ISSUED, Asked, FakeProvider, Reply, visit

OFF = {"KODA_KEYRING": "off"}
KEY = "sk-stored-0123456789"


def tokens(provider: FakeProvider, *, lasts: float, refresh: str = "refresh-old-0123456789") -> OAuthTokens:
    """Tokens of ChatGPT that end in ``lasts`` seconds."""
    provider.refresh_tokens.add(refresh)
    return OAuthTokens(
        access="access-old-0123456789",
        refresh=refresh,
        expires=time() + lasts,
        issued=time() - 3600,
        extra={"client_id": ISSUED, "account": "ada@example.org"},
    )


async def stored_tokens(provider: FakeProvider, home: Path, **given: Any) -> AuthStorage:
    auth = AuthStorage(home, OFF, provider.settings())
    await auth.store.write("openai", tokens(provider, **given))
    return auth


async def secret(auth: AuthStorage, provider: str) -> str | None:
    found = await auth.credential(provider)
    assert auth.ready(provider) == found
    return None if found is None else found.secret


# -- where credentials come from


@pytest.mark.asyncio
async def test_settings_then_environment_then_what_is_stored(tmp_path: Path) -> None:
    environ = OFF | {"GROQ_API_KEY": "of-the-environment", "MINE": " of-a-variable "}
    auth = AuthStorage(tmp_path, OFF)
    await auth.store_key("groq", KEY)
    expected: list[tuple[AuthStorage, str | None, str]] = [
        (AuthStorage(tmp_path, environ, {"groq": ProviderSettings(api_key="literal")}), "literal", "settings"),
        (AuthStorage(tmp_path, environ, {"groq": ProviderSettings(api_key="$MINE")}), "of-a-variable", "settings"),
        (AuthStorage(tmp_path, environ, {"groq": ProviderSettings(api_key="!echo printed")}), "printed", "settings"),
        (AuthStorage(tmp_path, environ, {"groq": ProviderSettings(api_key="$NONE")}), None, "none"),
        (AuthStorage(tmp_path, environ, {"groq": ProviderSettings()}), "of-the-environment", "environment"),
        (AuthStorage(tmp_path, OFF), KEY, "file"),
    ]
    for made, key, source in expected:
        assert made.known("groq") is (key is not None)
        found = await made.credential("groq")
        assert (found and (found.secret, found.source)) == (key and (key, source))
        assert made.ready("groq") == found
        assert (await made.status("groq")).source == source
    assert not auth.known("openai")
    assert await auth.credential("openai") is None
    assert (await auth.status("openai")).state == "missing"


def test_written_keys_are_ready_at_once(tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, {"GROQ_API_KEY": "k"}, {"lab": ProviderSettings(api_key="dummy")})
    assert auth.ready("groq") == Credential(secret="k", source="environment")
    assert auth.ready("lab") == Credential(secret="dummy", source="settings")
    assert auth.ready("openai") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_command_is_run_once_until_its_key_is_refused(tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"open(r'{count}', 'a').write('x'); print('key-' + open(r'{count}').read())"
    own = ProviderSettings(api_key=f'!"{sys.executable}" -c "{code}"')
    auth = AuthStorage(tmp_path, {**OFF}, {"groq": own})
    assert await asyncio.gather(*(secret(auth, "groq") for _ in range(5))) == ["key-x"] * 5
    auth.refused("groq", "another")
    assert await secret(auth, "groq") == "key-x"
    auth.refused("groq", "key-x")
    assert await secret(auth, "groq") == "key-xx"


@pytest.mark.asyncio
async def test_keys_are_checked(tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF)
    for wrong in ("", "  ", "two words", "line\nbreak", "schlüssel", "x" * 20_000, "a\x00b"):
        with pytest.raises(KodaError) as caught:
            await auth.store_key("groq", wrong)
        assert (caught.value.kind, caught.value.path) == ("params.invalid", "$.apiKey")
    assert await auth.store_key("groq", f"  {KEY}\n") == "file"
    assert await secret(auth, "groq") == KEY


@pytest.mark.asyncio
async def test_keys_go_to_the_keyring(tmp_path: Path) -> None:
    backend = LockedKeyring()
    backend.locked = False
    auth = AuthStorage(tmp_path, OFF, keyring=SystemKeyring({}, backend))
    assert await auth.store_key("groq", KEY) == "keyring"
    again = AuthStorage(tmp_path, OFF, keyring=SystemKeyring({}, backend))
    asked = backend.asked
    assert (await again.status("groq")).source == "keyring"
    assert again.known("groq")
    assert backend.asked == asked  # its user is not bothered to be told that
    assert await again.credential("groq") == Credential(secret=KEY, source="keyring")
    backend.locked = True
    locked = AuthStorage(tmp_path, OFF, keyring=SystemKeyring({}, backend))
    with pytest.raises(KodaError) as caught:
        await locked.credential("groq")
    assert caught.value.kind == "auth.required"


@pytest.mark.asyncio
async def test_what_cannot_be_decrypted_is_told_by_its_status(tmp_path: Path) -> None:
    await AuthStorage(tmp_path, OFF | {"KODA_PASSPHRASE": "correct horse"}).store_key("groq", KEY)
    status = await AuthStorage(tmp_path, OFF).status("groq")
    assert (status.state, status.source) == ("missing", "file")
    assert "KODA_PASSPHRASE is not set" in str(status.problem)


# -- signing in and out


class Heard:
    """What listeners are told."""

    def __init__(self, auth: AuthStorage) -> None:
        self.told: list[tuple[str, str, str | None]] = []
        auth.listeners.add(lambda name, state, error: self.told.append((name, state, error.kind if error else None)))


@pytest.mark.asyncio
async def test_signing_in_and_out(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    heard = Heard(auth)
    assert auth.methods("openai") == ("apiKey", "oauth")
    attempt = await auth.begin("openai")
    finishing = asyncio.create_task(auth.finish("openai", attempt))
    await visit(provider.consent(attempt.url))
    await finishing
    assert heard.told == [("openai", "ok", None)]
    status = await auth.status("openai")
    assert (status.state, status.source, status.account) == ("ok", "oauth", "ada@example.org")
    assert status.expires is not None
    found = await auth.credential("openai")
    assert found is not None
    assert found.kind == "oauth"

    assert await auth.logout("openai")
    assert provider.count("/revoke") == 1
    assert provider.refresh_tokens == set()
    assert heard.told[1:] == [("openai", "missing", None)]
    assert await auth.credential("openai") is None
    assert await auth.logout("openai")  # the registration that is left
    assert not await auth.logout("openai")


@pytest.mark.asyncio
async def test_signing_in_by_pasting(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    with pytest.raises(KodaError, match="under way"):
        auth.paste("openrouter", "code")
    attempt = await auth.begin("openrouter")
    with pytest.raises(KodaError):
        auth.paste("openrouter", "http://127.0.0.1/?code=wrong")
    auth.paste("openrouter", provider.consent(attempt.url))
    await auth.finish("openrouter", attempt)
    assert str(await secret(auth, "openrouter")).startswith("sk-or-")


@pytest.mark.asyncio
async def test_a_failed_sign_in_is_told(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    heard = Heard(auth)
    attempt = await auth.begin("openrouter")
    finishing = asyncio.create_task(auth.finish("openrouter", attempt))
    await visit(provider.refuse(attempt.url))
    with pytest.raises(KodaError):
        await finishing
    assert heard.told == [("openrouter", "missing", "permission.denied")]


@pytest.mark.asyncio
async def test_another_sign_in_replaces_the_first_quietly(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    heard = Heard(auth)
    first = await auth.begin("openrouter")
    finishing = asyncio.create_task(auth.finish("openrouter", first))
    await asyncio.sleep(0)
    second = await auth.begin("openrouter")
    with pytest.raises(KodaError, match="given up"):
        await finishing
    assert heard.told == []
    auth.paste("openrouter", provider.consent(second.url))
    await auth.finish("openrouter", second)
    assert heard.told == [("openrouter", "ok", None)]


@pytest.mark.asyncio
async def test_closing_ends_sign_ins(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    attempt = await auth.begin("openrouter")
    await auth.aclose()
    with pytest.raises(KodaError, match="given up"):
        await auth.finish("openrouter", attempt)


@pytest.mark.asyncio
async def test_wrong_oauth_settings(tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, {"openrouter": ProviderSettings(options={"oauth": "yes"})})
    with pytest.raises(KodaError) as caught:
        await auth.begin("openrouter")
    assert caught.value.path == "providers.openrouter.options.oauth"


# -- tokens


@pytest.mark.asyncio
async def test_tokens_are_used_until_shortly_before_their_end(provider: FakeProvider, tmp_path: Path) -> None:
    auth = await stored_tokens(provider, tmp_path, lasts=400)
    assert await secret(auth, "openai") == "access-old-0123456789"
    assert provider.asked == []


@pytest.mark.asyncio
@pytest.mark.parametrize("lasts", [200, -10])
async def test_tokens_are_refreshed_once_and_stored_before_they_are_used(
    provider: FakeProvider, tmp_path: Path, lasts: float
) -> None:
    auth = await stored_tokens(provider, tmp_path, lasts=lasts)
    got = await asyncio.gather(*(secret(auth, "openai") for _ in range(8)))
    assert len(set(got)) == 1
    assert got[0] != "access-old-0123456789"
    assert provider.count("/token") == 1
    again = await AuthStorage(tmp_path, OFF, provider.settings()).store.read("openai")
    assert isinstance(again, OAuthTokens)
    assert (again.access, again.refresh) == (got[0], next(iter(provider.refresh_tokens)))


@pytest.mark.asyncio
async def test_a_refused_token_is_refreshed(provider: FakeProvider, tmp_path: Path) -> None:
    auth = await stored_tokens(provider, tmp_path, lasts=3000)
    old = await secret(auth, "openai")
    assert old is not None
    assert auth.refused("openai", old)
    fresh = await secret(auth, "openai")
    assert fresh is not None
    assert fresh != old
    assert auth.refused("openai", old)  # a request that was under way with the old one
    assert await secret(auth, "openai") == fresh
    assert provider.count("/token") == 1
    assert not auth.refused("openai", fresh)  # it was not its age


@pytest.mark.asyncio
async def test_a_sign_in_that_the_provider_ended(provider: FakeProvider, tmp_path: Path) -> None:
    auth = await stored_tokens(provider, tmp_path, lasts=-10)
    heard = Heard(auth)
    provider.refresh_tokens.clear()
    for _ in range(2):
        with pytest.raises(KodaError) as caught:
            await auth.credential("openai")
        assert caught.value.kind == "auth.expired"
        assert caught.value.user_action == "Sign in again: koda-daemon login openai"
    assert provider.count("/token") == 1
    assert heard.told == [("openai", "expired", None)]
    status = await auth.status("openai")
    assert (status.state, status.source, status.account) == ("expired", "oauth", "ada@example.org")
    assert not auth.known("openai")
    await auth.store_key("openai", KEY)
    assert await secret(auth, "openai") == KEY


@pytest.mark.asyncio
async def test_a_busy_server_does_not_end_the_sign_in(provider: FakeProvider, tmp_path: Path) -> None:
    async def busy(_: Asked) -> Reply:
        return 503, {}

    provider.answer = busy
    auth = await stored_tokens(provider, tmp_path, lasts=200)
    assert await secret(auth, "openai") == "access-old-0123456789"  # it still lasts
    over = await stored_tokens(provider, tmp_path / "over", lasts=-10)
    with pytest.raises(KodaError) as caught:
        await over.credential("openai")
    assert (caught.value.kind, caught.value.retryable) == ("provider.unreachable", True)
    provider.answer = None
    assert await secret(over, "openai") != "access-old-0123456789"


@pytest.mark.asyncio
async def test_a_cancelled_request_does_not_lose_the_new_tokens(provider: FakeProvider, tmp_path: Path) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Asked) -> None:
        asked.set()
        await go.wait()

    provider.answer = slow
    auth = await stored_tokens(provider, tmp_path, lasts=-10)
    request = asyncio.create_task(auth.credential("openai"))
    await asked.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go.set()
    await auth.aclose()
    kept = await auth.store.read("openai")
    assert isinstance(kept, OAuthTokens)
    assert {kept.refresh} == provider.refresh_tokens
    assert await secret(auth, "openai") == kept.access
    assert provider.count("/token") == 1


@pytest.mark.asyncio
async def test_tokens_that_another_process_refreshed_are_taken(provider: FakeProvider, tmp_path: Path) -> None:
    auth = await stored_tokens(provider, tmp_path, lasts=3000)
    old = await secret(auth, "openai")
    other = AuthStorage(tmp_path, OFF, provider.settings())
    await other.store.write("openai", OAuthTokens(access="access-new-0123456789", refresh="r", expires=time() + 3600))
    auth.store._looked = float("-inf")  # a second has passed
    assert auth.ready("openai") is None
    assert await secret(auth, "openai") == "access-new-0123456789" != old
    await other.logout("openai")
    auth.store._looked = float("-inf")
    assert await auth.credential("openai") is None


@pytest.mark.asyncio
async def test_two_processes_refresh_once(provider: FakeProvider, tmp_path: Path) -> None:
    await stored_tokens(provider, tmp_path, lasts=-10)
    settings = msgspec.json.encode({"openai": {"options": {"oauth": provider.oauth()["openai"]}}}).decode()
    argv = (sys.executable, "-m", "tests.ai.auth.racer", str(tmp_path), settings)
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Asked) -> None:
        asked.set()
        await go.wait()

    provider.answer = slow
    racers = [
        await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert (await racer.stdout.readline()).strip() == b"ready"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        await racer.stdin.drain()
    await asked.wait()
    go.set()
    got = [(await racer.communicate())[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert got[0] == got[1]
    assert got[0].startswith(b"access-")
    assert provider.count("/token") == 1


@pytest.mark.asyncio
async def test_a_process_that_is_killed_in_mid_refresh_costs_the_sign_in_and_no_more(
    provider: FakeProvider, tmp_path: Path
) -> None:
    """The spent token is refused, the lock is free, and the user is told to sign in again."""
    await stored_tokens(provider, tmp_path, lasts=-10)
    settings = msgspec.json.encode({"openai": {"options": {"oauth": provider.oauth()["openai"]}}}).decode()
    argv = (sys.executable, "-m", "tests.ai.auth.racer", str(tmp_path), settings)
    racer = await asyncio.create_subprocess_exec(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    async def kill(asked: Asked) -> Reply:
        provider.answer = None
        reply = provider.reply(asked)  # the new tokens exist, and nobody hears of them
        racer.kill()
        await racer.wait()
        return reply

    provider.answer = kill
    await racer.communicate(b"go\n")
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    changes: list[tuple[str, str]] = []
    auth.listeners.add(lambda name, state, _error: changes.append((name, state)))
    for _ in range(2):
        with pytest.raises(KodaError) as caught:
            await auth.credential("openai")
        assert caught.value.kind == "auth.expired"
    assert changes == [("openai", "expired")]
    assert (await auth.status("openai")).state == "expired"
    assert provider.count("/token") == 2


@pytest.mark.asyncio
async def test_what_comes_after_a_sign_in_was_given_up_is_not_kept(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings())
    attempt = await auth.begin("openrouter")
    finishing = asyncio.create_task(auth.finish("openrouter", attempt))

    async def give_up(_: Asked) -> None:
        assert await auth.cancel("openrouter")

    provider.answer = give_up
    await visit(provider.consent(attempt.url))
    with pytest.raises(KodaError, match="given up"):
        await finishing
    assert (await auth.status("openrouter")).state == "missing"


# -- Copilot: keys that are exchanged


@pytest.mark.asyncio
async def test_a_github_token_is_exchanged(provider: FakeProvider, tmp_path: Path) -> None:
    github = "gho_0123456789abcdef"
    environ = OFF | {"COPILOT_GITHUB_TOKEN": github}
    auth = AuthStorage(tmp_path, environ, provider.settings())
    assert auth.known("github-copilot")
    assert auth.ready("github-copilot") is None
    found = await auth.credential("github-copilot")
    assert found is not None
    assert found.secret.startswith("tid=")
    assert (found.source, found.kind) == ("environment", "oauth")
    assert found.base_url == "https://api.business.githubcopilot.com"
    assert await secret(auth, "github-copilot") == found.secret
    auth.refused("github-copilot", found.secret)
    assert await secret(auth, "github-copilot") != found.secret
    stored = AuthStorage(tmp_path, OFF, provider.settings())
    await stored.store_key("github-copilot", github)
    found = await stored.credential("github-copilot")
    assert found is not None
    assert (found.source, found.secret[:4]) == ("file", "tid=")


@pytest.mark.asyncio
async def test_copilot_tokens_are_exchanged_anew(provider: FakeProvider, tmp_path: Path) -> None:
    auth = AuthStorage(tmp_path, OFF, provider.settings(), keyring=SystemKeyring({}, MemoryKeyring()))
    await auth.finish("github-copilot", await auth.begin("github-copilot"))
    first = await secret(auth, "github-copilot")
    assert first is not None
    auth.refused("github-copilot", first)
    assert await secret(auth, "github-copilot") != first
    assert (await auth.status("github-copilot")).account == "octocat"


# -- what it costs


def test_making_one_imports_nothing_heavy() -> None:
    code = """
import sys
from pathlib import Path
from koda_daemon.ai.auth.storage import AuthStorage
auth = AuthStorage(Path("/nowhere"), {"GROQ_API_KEY": "k"})
assert auth.ready("groq") and not auth.ready("openai") and not auth.known("openai")
print(sorted({"keyring", "cryptography", "httpx2", "hashlib", "webbrowser"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_keys_stay_out_of_representations(tmp_path: Path) -> None:
    credential = Credential(secret="the-secret", source="file", headers={"x": "the-secret"})
    assert "the-secret" not in repr(credential) + repr(ApiKey("the-secret"))
