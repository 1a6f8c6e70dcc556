"""Authorizer: puts credentials into the requests of providers, and hears which of them are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from msgspec.structs import replace

from koda_daemon.ai.auth import CredentialSource
from koda_daemon.ai.events import StreamError, StreamEvent
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError


class Authorizer:
    """What a registry asks about credentials. ``source`` is called when one is first needed; None: there is none."""

    def __init__(self, source: Callable[[], CredentialSource] | None) -> None:
        self._source = None if source is None else cache(source)

    def knows(self, provider_id: str) -> bool:
        """Whether there is a credential beside those of the row itself."""
        return self._source is not None and self._source().known(provider_id)

    def waits(self, config: ProviderConfig) -> bool:
        """Whether the credential has first to be read, refreshed, or found missing: then ``fetch`` it."""
        if self._source is None or self._source().ready(config.id) is not None:
            return False
        return config.needs_key or self._source().known(config.id)

    async def fetch(self, config: ProviderConfig) -> None:
        """Has the credential at hand, if there is one. Raises ``auth.expired``, ``auth.required``, ..."""
        if self._source is not None and self.waits(config):
            await self._source().credential(config.id)

    def applied(self, config: ProviderConfig) -> ProviderConfig:
        """``config`` with the credential that is at hand: a key, or a function that gives a token for each request."""
        source = self._source
        credential = None if source is None else source().ready(config.id)
        if source is None or credential is None:
            return config
        if credential.kind == "api_key":
            return config if config.api_key is not None else replace(config, api_key=credential.secret)

        async def token() -> str:
            found = await source().credential(config.id)
            if found is None:
                raise KodaError("auth.required", f"Nobody is signed in at {config.name}.")
            return found.secret

        row = PROVIDERS.get(config.id)
        own_address = row is None or config.base_url != row.base_url  # the user's own goes before the account's
        return replace(
            config,
            api_key=None,
            token=token,
            base_url=config.base_url if own_address else credential.base_url or config.base_url,
            headers={**credential.headers, **config.headers},
            compat=replace(config.compat, plan_usage=True) if credential.plan else config.compat,
        )

    def watched(self, provider_id: str, stream: AssistantMessageEventStream) -> AssistantMessageEventStream:
        """Has a token that the provider refuses refreshed for the next request, which the agent is told to make."""
        source = self._source
        credential = None if source is None else source().ready(provider_id)
        if source is not None and credential is not None and credential.expires is not None:

            def listen(event: StreamEvent) -> None:
                if isinstance(event, StreamError) and event.error.kind in ("auth.required", "auth.expired"):
                    again = source().refused(provider_id, credential.secret)
                    event.error.retryable = again and event.partial is None

            stream.on_event(listen)
        return stream


def account(config: ProviderConfig) -> str | None:
    """What connections and limits belong to: a token is new every hour, its account is not."""
    return config.api_key if config.token is None else f"signed in at {config.base_url}"
