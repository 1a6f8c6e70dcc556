"""Full-text search: what of a node is searched, and how a user's words become a query that cannot fail to parse."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator
from functools import cache

from msgspec import Struct

from koda_daemon.ai.messages import ResourceBlock, TextBlock, ToolCall
from koda_daemon.session.nodes import Node

SNIPPET_LENGTH = 160
LONGEST_CUT = 30
LONGEST_WORD = 200
MOST_WORDS = 32
_WORDS = re.compile(r'"([^"]*)"|(\S+)')
_TOKEN = re.compile(r"[^\W_]+")
# Scripts without spaces between words: Hiragana to Katakana, the CJK ideographs, Hangul syllables.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"


@cache
def _unspaced() -> re.Pattern[str]:
    """Where a space belongs. Compiled when first needed: that takes longer than all the rest of the start."""
    return re.compile(f"(?<=[{_CJK}])(?=[^ ])|(?<=[^ ])(?=[{_CJK}])")


@cache
def _spaced() -> re.Pattern[str]:
    return re.compile(rf"(?<=[{_CJK}])(\*\*)? (\*\*)?(?=[{_CJK}])")


def text_of_node(node: Node) -> str:
    """What a person would search for: texts, tool calls with their arguments, results, summaries. No thinking."""
    return "\n".join(_texts(node))


def _texts(node: Node) -> Iterator[str]:
    if node.summary:
        yield node.summary
    if node.message is None:
        return
    for block in node.message.content:
        match block:
            case TextBlock(text=text):
                yield text
            case ResourceBlock(uri=uri):
                yield uri
            case ToolCall(tool=tool, arguments=arguments):
                yield tool
                yield from _strings(arguments)


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting.extend(reversed(each.values()))
        elif isinstance(each, list):
            waiting.extend(reversed(each))


def to_index(text: str) -> str:
    """Text as it goes into the index, whose words end at spaces: each CJK character is a word."""
    text = text.replace("\0", " ")
    return text if text.isascii() else _unspaced().sub(" ", text)


def from_index(snippet: str) -> str:
    """A snippet of the index as a person wrote it."""
    return snippet if snippet.isascii() else _spaced().sub(r"\1\2", snippet)


def folder_word(cwd: str) -> str:
    """A word of the index that stands for a folder (two folders may share one)."""
    return f"c{zlib.crc32(cwd.encode('utf-8', 'surrogatepass')):08x}"


class Word(Struct, frozen=True):
    """A word or "quoted phrase" of a query as the index has it. ``begins``: what begins so is meant too."""

    text: str
    begins: bool


def words_of(query: str) -> tuple[list[Word], list[str]]:
    """The words of a query, and its symbols, which are no words of the index: "🎉", "→".

    The last word is taken for a beginning, and so is each with a ``*`` at its end. Signs of ASCII do not count.
    """
    words: list[Word] = []
    symbols: list[str] = []
    for found in _WORDS.finditer(query.encode("utf-8", "replace").decode()):
        text, quoted = (found[1], True) if found[1] is not None else (found[2], False)
        if any(char.isalnum() for char in text):
            bare = text if quoted else text.rstrip("*")
            last = found.end() == len(query.rstrip()) and bare[-1].isalnum() and not text.endswith('"')
            words.append(Word(to_index(bare)[:LONGEST_WORD], not quoted and (last or bare != text)))
        elif text.strip() and not text.isascii():
            symbols.append(text.strip()[:LONGEST_WORD])
    return words[:MOST_WORDS], symbols[:MOST_WORDS]


def match_expression(query: str) -> str | None:
    """An FTS5 expression for all words of ``query``, the last as a prefix (sqlite.org/fts5.html, section 3).

    "Quoted words" are found as a phrase. Every word is a quoted string, so that no operator of FTS5 can be meant.
    None when there is no word to search for.
    """
    words, _ = words_of(query)
    if not words:
        return None
    return " AND ".join('"' + word.text.replace('"', '""') + '"' + " *" * word.begins for word in words)


class Snippets:
    """Cuts the place of a match out of a text of the index and marks it with ``**``.

    Not with FTS5's own function, whose time grows with the square of the matches in a text.
    """

    def __init__(self, query: str) -> None:
        words, symbols = words_of(query)
        patterns = [re.escape(symbol) for symbol in symbols]
        for word in words:
            tokens = [re.escape(token) for token in _TOKEN.findall(_folded(word.text))]
            end = r"[^\W_]*" if word.begins else r"(?![^\W_])"
            patterns.append(r"(?<![^\W_])" + r"[\W_]+".join(tokens) + end)
        self._words = re.compile("|".join(patterns))

    def of(self, text: str) -> str:
        """``text`` may be cut off at its end: what is not found in it is not marked."""
        folded = _folded(text)
        first = self._words.search(folded)
        start, end = 0, SNIPPET_LENGTH
        if first is not None:
            start = max(0, first.start() - SNIPPET_LENGTH // 3)
            end = max(start + SNIPPET_LENGTH, min(first.end(), start + 2 * SNIPPET_LENGTH))
        start, end = _between_words(text, start, end)
        parts = ["…"] if start > 0 else []
        here = start
        for found in self._words.finditer(folded, start, end):
            parts += [text[here : found.start()], "**", text[found.start() : found.end()], "**"]
            here = found.end()
        return from_index("".join([*parts, text[here:end], *(["…"] if end < len(text) else [])]))


def _between_words(text: str, start: int, end: int) -> tuple[int, int]:
    """The same part of a text without the words that it would cut, unless they are very long."""
    if start > 0 and (space := text.find(" ", start, start + LONGEST_CUT)) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", max(start, end - LONGEST_CUT), end)) > start:
        end = space
    return start, end


def _folded(text: str) -> str:
    """Character for character without case and accents, as the index compares."""
    return text.lower() if text.isascii() else text.translate(_fold)


class _Fold(dict[int, str]):
    def __missing__(self, code: int) -> str:
        base = unicodedata.normalize("NFD", chr(code))[0].lower()
        self[code] = folded = base if len(base) == 1 else chr(code)
        return folded


_fold = _Fold()
