"""Wire APIs by name: our own, and those of other packages, by an entry point of the group ``koda.providers`` or named
in the settings.

An entry point's name is the API's (and a provider of that name exists at once); settings name ``module:Class``. What is
named so is imported into the daemon: settings of a workspace can do that only when the user trusts it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from koda_daemon.ai.provider import BaseProvider
from koda_daemon.base.errors import KodaError

GROUP = "koda.providers"
BUILT_IN = {
    "openai-completions": "koda_daemon.ai.wire.openai_completions:OpenAICompletions",
    "anthropic-messages": "koda_daemon.ai.wire.anthropic_messages:AnthropicMessages",
    "openai-responses": "koda_daemon.ai.wire.openai_responses:OpenAIResponses",
    "google-generative-ai": "koda_daemon.ai.wire.google_generative_ai:GoogleGenerativeAI",
    "azure-openai": "koda_daemon.ai.wire.azure_openai:AzureOpenAI",
    "bedrock-converse": "koda_daemon.ai.wire.bedrock_converse:BedrockConverse",
    "bedrock-mantle": "koda_daemon.ai.wire.bedrock_mantle:BedrockMantle",
    "github-copilot": "koda_daemon.ai.wire.copilot:GitHubCopilot",
    "demo": "koda_daemon.ai.demo:DemoProvider",
}
"""Our own wire APIs, ``module:Class``. Their modules import an SDK only when a connection is made."""


@cache
def installed() -> dict[str, str]:
    """The APIs of installed packages: name -> ``module:Class``. Blocking: looks through all packages, once."""
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=GROUP)}


def is_named(api: str) -> bool:
    """Whether ``api`` names a class (``module:Class``)."""
    module, colon, name = api.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def loaded(place: str, path: str) -> type[BaseProvider]:
    """The class at ``module:Class``. ``params.invalid`` (naming ``path``) if there is none, or it is no provider."""
    module, _, name = place.partition(":")
    try:
        found: object = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise KodaError("params.invalid", f"{path}: {place} cannot be imported: {error}.", path=path) from None
    except Exception as error:
        what = f"{path}: {place} failed while it was imported: {type(error).__name__}."
        raise KodaError("params.invalid", what, path=path) from error
    if not (isinstance(found, type) and issubclass(found, BaseProvider)):
        raise KodaError("params.invalid", f"{path}: {place} is no subclass of BaseProvider.", path=path)
    return found
