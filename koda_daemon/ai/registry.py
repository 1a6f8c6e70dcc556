"""ModelRegistry: every model of every provider under one name, ``provider/id``, and the way to ask it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from koda_daemon.ai import plugins
from koda_daemon.ai.auth import CredentialSource
from koda_daemon.ai.auth.requests import Authorizer, account
from koda_daemon.ai.catalog_tables import ModelTables, is_local
from koda_daemon.ai.checks import checked_headers, checked_options, problems_of
from koda_daemon.ai.events import StreamError, StreamEvent
from koda_daemon.ai.limits import Limits
from koda_daemon.ai.messages import Usage
from koda_daemon.ai.plugins import BUILT_IN
from koda_daemon.ai.provider import BaseProvider, Context, Model, StreamOptions
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig, ProviderRow, filled_in, merged_compat
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError

_log = logging.getLogger(__name__)
_DEFAULT_API = "openai-completions"
_SCRIPT_VARIABLE = "KODA_DEMO_SCRIPT"
_DEMO = "demo/koda"
_CLOSING = "close "


class ModelRegistry:
    """Knows providers and models, and keeps one provider object per row and key.

    ``settings`` is the ``providers`` part of the user's settings, where a row overrides a built-in provider or adds
    one; keys come from it or from ``environ``. Making a registry imports no SDK, reads no file and opens nothing.

    ``credentials`` gives what signing in has stored, and tokens that are good now; it is called when one is first
    needed. Without it, keys are those of the settings and of the environment.

    ``cache`` is a folder for what is learned of models while it runs; without it nothing is kept and models.dev is not
    asked. ``KODA_OFFLINE=1`` in ``environ`` keeps all but prompts and servers on this machine from being asked.
    """

    def __init__(
        self,
        settings: Mapping[str, ProviderSettings],
        *,
        environ: Mapping[str, str] = os.environ,
        cache: Path | None = None,
        credentials: Callable[[], CredentialSource] | None = None,
    ) -> None:
        self._settings = dict(settings)
        self._environ = environ
        self._authorizer = Authorizer(credentials)
        self._classes: dict[str, type[BaseProvider]] = {}
        self._live: dict[tuple[str, str, str | None], BaseProvider] = {}
        self._limits: dict[tuple[str, str | None], Limits] = {}
        self._tables = ModelTables(cache)
        self._keeps = cache is not None
        self._next_look = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def register(self, provider_class: type[BaseProvider]) -> None:
        """Adds a wire API under its ``api_type``, or replaces one.

        A settings row then uses it by ``"api"``; without such a row a provider of that name exists at once. The class
        is made with one ``ProviderConfig``, or with nothing when it has no ``__init__`` of its own.
        """
        self._classes[provider_class.api_type] = provider_class
        self._tables.forget()

    @property
    def providers(self) -> list[str]:
        """The ids of all providers: built-in, of the settings, registered, and of installed packages."""
        return list(dict.fromkeys((*PROVIDERS, *self._settings, *self._classes_by_name(), *plugins.installed())))

    def _knows(self, provider: str) -> bool:
        """Whether there is such a provider. Looks for installed packages last, since that takes long."""
        known = provider in PROVIDERS or provider in self._settings or provider in self._classes_by_name()
        return known or provider in plugins.installed()

    def _classes_by_name(self) -> list[str]:
        """The registered APIs that are no built-in ones: each is a provider, too."""
        return [api for api in self._classes if api not in BUILT_IN and not plugins.is_named(api)]

    def model(self, ref: str) -> Model:
        """The model named ``provider/id``. ``model.unknown`` for a provider that does not exist.

        An id that no table knows is allowed, with cautious limits and ``known=False``.
        """
        provider, slash, model_id = ref.partition("/")
        if not slash or not model_id or not self._knows(provider):
            what = f"No provider named {provider!r}." if slash else f"A model is named provider/id, not {ref!r}."
            raise KodaError(
                "model.unknown", what, user_action="Choose one of koda/model/list, or add it to the settings."
            )
        return self._tables.model(self.config(provider), self._settings.get(provider), model_id)

    def models(self, provider: str | None = None) -> list[Model]:
        """The known models of one provider, or of all; without those of a provider whose settings are wrong."""
        chosen = self.providers if provider is None else [provider] if self._knows(provider) else []
        found: list[Model] = []
        for name in chosen:
            with suppress(KodaError):
                found += self._table(name).values()
        return found

    async def listed(self, provider: str | None = None, *, wait: float = 2.0) -> list[Model]:
        """As ``models``, after the providers that can be asked were asked for their own lists.

        A list that only grew old, and what takes longer than ``wait`` seconds, shows the next time.
        """
        await asyncio.to_thread(plugins.installed)
        chosen = self.providers if provider is None else [provider]
        asked = {name: task for name in chosen if (task := self._ask(name)) is not None}
        awaited = [task for name, task in asked.items() if self._tables.lacks_list(self.config(name))]
        if awaited:
            await asyncio.wait(awaited, timeout=wait)
        return self.models(provider)

    def _ask(self, provider: str) -> asyncio.Task[None] | None:
        """Starts asking a provider for its list; None when it cannot be asked or was just now."""
        if not self.available(provider):
            return None
        config = self.config(provider)
        if config.api == "demo" or (self._offline and not is_local(config)) or not self._tables.is_stale(config):
            return None
        return self._background(f"list {provider}", self._take_list(config))

    async def _take_list(self, config: ProviderConfig) -> None:
        try:
            await self._authorizer.fetch(config)
            provider, _ = self._provider(config.id, config.api)
            models = await provider.list_models()
        except Exception as error:  # also of providers that are not ours
            why = error.message if isinstance(error, KodaError) else type(error).__name__
            _log.info("%s gave no list of its models: %s", config.id, why)
            models = None
        if models is None:
            self._tables.failed(config)
        else:
            await self._tables.keep(config, models)

    def _refresh(self) -> None:
        """Brings what models.dev says up to date, in the background; looks at most once an hour whether that is due."""
        if self._keeps and time.monotonic() >= self._next_look and not self._offline:
            self._next_look = time.monotonic() + 3600.0
            self._background("refresh", self._tables.refresh())

    def _background(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        running = self._tasks.get(name)
        if running is not None:
            work.close()
            return running
        task = self._tasks[name] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed", name, exc_info=error)

    @property
    def _offline(self) -> bool:
        return self._environ.get("KODA_OFFLINE", "") not in ("", "0")

    def problems(self) -> list[KodaError]:
        """What is wrong with the settings of providers, for whoever reports it to the user. Blocking: reads files."""
        return problems_of(self._settings, self._is_api, self.config, lambda config: self._table(config.id))

    def available(self, provider_id: str) -> bool:
        """True when the provider could be asked: it has credentials or needs none."""
        if not self._knows(provider_id):
            return False
        try:
            config = self.config(provider_id)
        except KodaError:
            return False
        if config.missing:
            return False
        return config.api_key is not None or not config.needs_key or self._authorizer.knows(provider_id)

    def default_ref(self) -> str:
        """The model to use when nothing is configured: of the first provider with a key, else the demo agent."""
        for provider in self.providers:
            row = PROVIDERS.get(provider)
            # Local servers need no key but may not run; settings rows are a choice of the user.
            chosen = provider in self._settings or (row is not None and bool(row.env))
            if chosen and self.available(provider) and (table := self.models(provider)):
                return table[0].ref
        return _DEMO

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        """One attempt at an answer. Never raises: what is wrong comes as the stream's ``StreamError``."""
        self._refresh()
        try:
            if self._authorizer.waits(self.config(model.provider)):
                asked: list[AssistantMessageEventStream] = []
                events = self._when_ready(model, context, options, asked)
                return AssistantMessageEventStream(events, lambda: asked[0].spent if asked else Usage())
            return self._stream(model, context, options)
        except KodaError as error:
            return AssistantMessageEventStream(_failed(error))
        except Exception as error:  # of a provider that is not ours
            _log.exception("the provider of %s failed", model.ref)
            what = f"The provider of {model.ref} failed: {type(error).__name__}."
            return AssistantMessageEventStream(_failed(KodaError("internal", what)))

    def _stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        provider, limits = self._provider(model.provider, model.api)
        if context.tools and not model.tools:
            context = Context(context.system, context.messages)  # offering some would be refused
        stream: object = provider.stream(model, context, options)
        if not isinstance(stream, AssistantMessageEventStream):
            raise KodaError("internal", f"{type(provider).__name__}.stream returned no AssistantMessageEventStream.")
        if model.api != "demo":  # which shares nothing with anybody
            stream = stream.behind(limits.gate(model.id))
        return self._authorizer.watched(model.provider, stream)

    async def _when_ready(
        self, model: Model, context: Context, options: StreamOptions, asked: list[AssistantMessageEventStream]
    ) -> AsyncGenerator[StreamEvent]:
        await self._authorizer.fetch(self.config(model.provider))
        async with self._stream(model, context, options) as stream:
            asked.append(stream)
            async for event in stream:
                yield event

    async def warm(self, ref: str) -> None:
        """Imports off the loop what a model's provider needs and connects it. Raises as ``model`` does.

        What is not known of the model is asked for in the background: of the provider, and of models.dev once a day.
        """
        model = self.model(ref)
        await asyncio.to_thread(plugins.installed)  # so that nothing waits for it later
        if not self._offline:
            await self._authorizer.fetch(self.config(model.provider))
        provider, _ = self._provider(model.provider, model.api)
        await provider.warm()
        self._refresh()
        if not model.known:
            self._ask(model.provider)

    async def aclose(self) -> None:
        """Closes all connections; the registry may be used again."""
        tasks = dict(self._tasks)
        for name, task in tasks.items():
            if not name.startswith(_CLOSING):
                task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        live, self._live = self._live, {}
        for provider in live.values():
            await provider.aclose()

    def config(self, provider_id: str) -> ProviderConfig:
        """The provider's row with settings and key applied; ``params.invalid`` names a setting that is wrong."""
        row = PROVIDERS.get(provider_id)
        own = self._settings.get(provider_id)
        if row is None:
            bare = own is None or not (own.api or own.base_url)
            own_api = provider_id in self._classes or (bare and provider_id in plugins.installed())
            row = ProviderRow(
                id=provider_id, name=provider_id, api=provider_id if own_api else _DEFAULT_API, base_url=""
            )
        script = self._environ.get(_SCRIPT_VARIABLE) if row.api == "demo" else None
        options = {"script": script} if script else {}
        environ = {name: value for name in (*row.env, *row.reads) if (value := self._environ.get(name, "").strip())}
        if own is None:
            base_url, missing = filled_in(row.base_url, self._environ)
            return ProviderConfig(
                id=row.id,
                name=row.name,
                api=row.api,
                base_url=base_url,
                api_key=self._from_environ(row),
                env=row.env,
                headers=row.headers,
                compat=row.compat,
                options=options,
                environ=environ,
                missing=missing,
            )
        api = own.api or row.api
        if not self._is_api(api):
            path = f"providers.{provider_id}.api"
            raise KodaError("params.invalid", f"{path}: no wire API named {api!r}.", path=path)
        checked_options(own.options, provider_id)
        base_url, missing = (own.base_url.rstrip("/"), None) if own.base_url else filled_in(row.base_url, self._environ)
        if not base_url and not missing and api in BUILT_IN and api != "demo":
            path = f"providers.{provider_id}.baseUrl"
            raise KodaError("params.invalid", f"{path} is missing.", path=path)
        checked_headers(own.headers, provider_id)
        headers = {name: found for name, value in own.headers.items() if (found := self._key(value)) is not None}
        named = (own.api_key[1:],) if own.api_key and own.api_key.startswith("$") else ()
        return ProviderConfig(
            id=row.id,
            name=row.name,
            api=api,
            base_url=base_url,
            api_key=self._key(own.api_key) if own.api_key else self._from_environ(row),
            # A row without a key of its own is a server that asks for none.
            env=(*named, *row.env),
            headers={**row.headers, **checked_headers(headers, provider_id)},
            compat=merged_compat(row.compat, own.compat, provider_id),
            options=options | own.options,
            environ=environ,
            missing=missing,
        )

    def _is_api(self, api: str) -> bool:
        return api in BUILT_IN or api in self._classes or plugins.is_named(api) or api in plugins.installed()

    def _key(self, value: str) -> str | None:
        """``$NAME`` is a variable of the environment, a ``!command`` is for ``credentials``, all else is the key."""
        if value.startswith("!"):
            return None
        found = self._environ.get(value[1:]) if value.startswith("$") else value
        return (found or "").strip() or None  # keys are pasted with line ends

    def _from_environ(self, row: ProviderRow) -> str | None:
        return next((value for name in row.env if (value := self._environ.get(name, "").strip())), None)

    def _table(self, provider: str) -> dict[str, Model]:
        return self._tables.models(self.config(provider), self._settings.get(provider))

    def _provider(self, provider_id: str, api: str) -> tuple[BaseProvider, Limits]:
        if not self._knows(provider_id):
            raise KodaError("model.unknown", f"No provider named {provider_id!r}.")
        config = self._authorizer.applied(self.config(provider_id))
        if config.api_key is None and config.token is None and config.needs_key:
            raise KodaError(
                "auth.required",
                f"{config.name} needs an API key.",
                user_action=f"Set {config.env[0]}, or sign in: koda-daemon login {provider_id}",
            )
        if config.missing:
            raise KodaError(
                "auth.required",
                f"{config.name} needs an address.",
                user_action=f"Set {config.missing}, or providers.{provider_id}.baseUrl in the settings.",
            )
        if api != config.api:
            config = self._with_api(config, api)
        limits = self._limits.get((provider_id, account(config)))
        if limits is None:
            limits = self._limits[provider_id, account(config)] = Limits(config)
        name = provider_id, api, account(config)
        live = self._live.get(name)
        if live is None:
            live = _made(self._class(api, provider_id), config)
            self._drop_old(provider_id, api)
            self._live[name] = live
        return live, limits

    def _drop_old(self, provider_id: str, api: str) -> None:
        """Closes, in the background, what was connected with a key that has been replaced and is not in use."""
        for name in [name for name in self._live if name[:2] == (provider_id, api)]:
            limits = self._limits.get((provider_id, name[2]))
            if limits is None or not limits.running:
                self._background(f"{_CLOSING}{id(self._live[name])}", self._live.pop(name).aclose())
                self._limits.pop((provider_id, name[2]), None)

    def _with_api(self, config: ProviderConfig, api: str) -> ProviderConfig:
        """The provider as it is reached by another of its wire APIs; an address of the user's own serves for all."""
        row, own = PROVIDERS.get(config.id), self._settings.get(config.id)
        address = row.apis.get(api) if row is not None and not (own is not None and own.base_url) else None
        return replace(config, api=api, base_url=address or config.base_url)

    def _class(self, api: str, provider_id: str) -> type[BaseProvider]:
        found = self._classes.get(api)
        if found is None:
            path = f"providers.{provider_id}.api"
            place = BUILT_IN.get(api) or (api if plugins.is_named(api) else plugins.installed().get(api))
            if place is None:  # a model's, since that of the provider was looked at before
                raise KodaError("params.invalid", f"providers.{provider_id}: no wire API named {api!r}.", path=path)
            found = self._classes[api] = plugins.loaded(place, path)
        return found


def _made(provider_class: type[BaseProvider], config: ProviderConfig) -> BaseProvider:
    try:
        if provider_class.__init__ is object.__init__:
            return provider_class()
        return provider_class(config)  # type: ignore[call-arg] # BaseProvider leaves __init__ to its subclasses
    except KodaError:
        raise
    except Exception as error:
        # A TypeError is about the class itself: what it lacks, or what it wants to be made with.
        why = f"TypeError: {error}" if isinstance(error, TypeError) else type(error).__name__
        path = f"providers.{config.id}.api"
        what = f"{path}: {provider_class.__name__} cannot be made: {why}."
        raise KodaError("params.invalid", what, path=path) from error


async def _failed(error: KodaError) -> AsyncGenerator[StreamEvent]:
    yield StreamError(error)
