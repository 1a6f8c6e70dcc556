"""Credentials: where the key or token of a provider comes from, and how a user signs in.

Importing this package costs nothing; cryptography, keyring and HTTP clients are imported when first used.

The rooms: ``storage`` puts all together. Keys come from ``origins`` (settings, environment, ``command``) and ``store``
(``system_keyring``, and the encrypted file of ``vault``). Signing in is a ``Flow`` of ``oauth`` for each provider
(``openrouter``, ``chatgpt``, ``copilot``, ``huggingface``; ``flows`` lists them), whose browser comes back to
``callback``; ``refresh`` keeps tokens fresh. ``requests`` brings credentials into requests, ``redact`` keeps them out
of logs and errors.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from msgspec import Struct, field

Source = Literal["environment", "settings", "keyring", "file", "oauth", "none"]
"""Where a credential comes from; ``oauth``: from signing in, kept in the encrypted file."""


class ApiKey(Struct, frozen=True, tag="api_key", tag_field="kind"):
    """A key as a provider's web site gives it."""

    key: str

    def __repr__(self) -> str:
        return "ApiKey(***)"


class OAuthTokens(Struct, frozen=True, tag="oauth", tag_field="kind", kw_only=True, omit_defaults=True):
    """What signing in gave. ``expires`` and ``issued`` are Unix seconds; ``expires`` None: it lasts.

    Without ``access`` and ``refresh`` the sign-in has ended (the provider refused to refresh it) and only ``extra``,
    which holds no secret, is still known. ``extra``: ``account`` (a name to show), ``client_id``, ``base_url``, ...
    """

    access: str
    refresh: str = ""
    expires: float | None = None
    issued: float = 0.0
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return not self.access and not self.refresh

    def __repr__(self) -> str:
        return f"OAuthTokens(***, expires={self.expires!r})"


Stored: TypeAlias = ApiKey | OAuthTokens
"""What is kept for a provider."""


class Credential(Struct, frozen=True, kw_only=True):
    """What a request is authorized with.

    ``secret`` is the API key or the bearer token. ``base_url`` replaces the provider's (Copilot gives each account its
    own); ``headers`` are wanted along with it, below those of the settings. ``expires``: Unix seconds. ``plan``: a
    ChatGPT plan pays for requests (``Compat.plan_usage``).
    """

    secret: str
    source: Source
    kind: Literal["api_key", "oauth"] = "api_key"
    expires: float | None = None
    base_url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    plan: bool = False

    def __repr__(self) -> str:  # stays out of logs and tracebacks
        return f"Credential(source={self.source!r}, kind={self.kind!r}, expires={self.expires!r})"


class CredentialSource(Protocol):
    """Gives each request the credential of its provider (``storage.AuthStorage`` is one)."""

    def known(self, provider_id: str) -> bool:
        """Whether there is a credential to try; it may still turn out to be refused or locked away."""

    def ready(self, provider_id: str) -> Credential | None:
        """The credential if it is at hand and valid: nothing is waited for. Costs next to nothing."""

    async def credential(self, provider_id: str) -> Credential | None:
        """The credential, fetched or refreshed if need be; None when there is none.

        Raises ``auth.expired`` when the user has to sign in again, ``auth.required`` when a stored credential cannot be
        read, ``provider.unreachable`` when it could not be refreshed now.
        """

    def refused(self, provider_id: str, secret: str) -> bool:
        """Tells that the provider did not accept ``secret``: the next request gets a refreshed one, if there is.

        True when that is worth trying at once.
        """
