"""Redactor: keeps secrets that this process knows out of its logs, whoever logs them."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

SHORTEST = 8
"""Shorter values are not searched for: they would be found in innocent words (``dummy`` is a usual key)."""
MASK = "***"

_BEGINNING = 6
_URL_SAFE = str.maketrans("+/", "-_")
_formatter = logging.Formatter()


class Redactor(logging.Filter):
    """A set of secret values, and a filter that replaces them in log records. Costs one search per record.

    Found are also their forms in addresses, base64 and JSON, and what servers make of them that show a key by its
    beginning and asterisks or dots. Add it to handlers, not loggers: filters of loggers do not see the records of
    their children.
    """

    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, *secrets: str | None) -> None:
        """Makes values known as secret."""
        new = {secret for secret in secrets if secret is not None and len(secret) >= SHORTEST} - self._secrets
        if new:
            self._secrets |= new
            self._pattern = None

    def redact(self, text: str) -> str:
        """``text`` with every known secret masked."""
        if not self._secrets:
            return text
        if self._pattern is None:
            self._pattern = _pattern_of(self._secrets)
        return self._pattern.sub(MASK, text)

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._secrets:
            return True
        try:
            message = record.getMessage()
        except Exception:
            return True  # a malformed record: the handler deals with it, and shows no arguments
        clean = self.redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = _formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self.redact(record.stack_info)
        return True


def _pattern_of(secrets: set[str]) -> re.Pattern[str]:
    forms = {form for secret in secrets for form in (secret, *_forms(secret)) if len(form) >= SHORTEST}
    # Longest first, so that a secret that begins with another one goes as a whole.
    whole = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    begun = "|".join(sorted(re.escape(secret[:_BEGINNING]) for secret in secrets))
    return re.compile(rf"{whole}|(?:{begun})[\w\-]*(?:\*{{2,}}|\.{{3,}}|…|•+)[\w\-*]*")


def _forms(secret: str) -> Iterator[str]:
    """What a secret looks like in an address, in JSON, and in base64 with anything before and after it."""
    data = secret.encode("utf-8", "surrogateescape")  # as variables of the environment are decoded
    yield quote(data)
    yield quote(data, safe="")
    yield quote_plus(data)
    yield json.dumps(secret)[1:-1]
    for before in range(3):
        text = b64encode(b"\0" * before + data).decode().rstrip("=")
        # Characters that hold bits of what is around it are left out.
        core = text[(0, 2, 3)[before] : len(text) - bool((before + len(data)) % 3)]
        yield core
        yield core.translate(_URL_SAFE)


REDACTOR = Redactor()
"""The secrets that this process has seen: every credential that is read, resolved or obtained is added."""


def is_secret_name(name: str) -> bool:
    """Whether a header or variable of that name holds a credential, by its name."""
    return _SECRET_NAME.search(name) is not None


_SECRET_NAME = re.compile(r"authorization|cookie|(api|access|auth|secret)[-_]?key|token|secret|passw|passphrase", re.I)


def secret_values(named: Iterable[tuple[str, str]]) -> list[str]:
    """The values of those names that hold credentials; of ``Bearer x`` also ``x`` alone. Passwords in addresses."""
    named = list(named)
    found = [value for name, value in named if is_secret_name(name)]
    addresses = [value for _, value in named if "://" in value and "@" in value]
    words = [value.partition(" ")[2] for value in found if " " in value]
    return found + words + [password for address in addresses for password in passwords_in(address)]


def passwords_in(url: str) -> list[str]:
    """The password of an address (a proxy's), as it is written, as it is meant, and as it is sent (RFC 7617)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    if not parts.password:
        return []
    password = unquote(parts.password)
    return [parts.password, password, b64encode(f"{unquote(parts.username or '')}:{password}".encode()).decode()]
