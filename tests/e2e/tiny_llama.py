"""A language model of two megabytes that always says the same, and llama.cpp's real server with it.

It has no weights worth the name: each token leads to the next one, so what it writes is known beforehand, down to the
call of a tool. Started as a program (file, port 0, context size) it serves until it is ended.
"""

from __future__ import annotations

import struct
import sys
from array import array
from importlib import import_module
from pathlib import Path
from typing import Any

_BYTES = 256
_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|go|>", "<|after|>")
_NORMAL, _CONTROL = 1, 3
FIRST = ("<think>\n", "Hm, ", "so.", "\n</think>\n\n", "I ", "look ", "around 🙂. ")
CALL = ("\n<tool_call>\n", '{"name": "ls", ', '"arguments": {"path": "."', "}}", "\n</tool_call>")
SECOND = ("That ", "was ", "all.")

# The form of Qwen's templates, by which the server knows how calls are written; the last token tells what to say.
TEMPLATE = """\
{%- if messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- if tools %}{{ '<|im_start|>system\\n<tools>' }}{%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call>' }}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}{{ '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
{%- elif message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}
{%- if message.reasoning_content %}{{ '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- message.content or '' }}
{%- for call in message.tool_calls or [] %}{{ '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{%- endfor %}{{ '<|im_end|>\\n' }}
{%- elif message.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' }}
{{- message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{{- '<|after|>' if messages[-1].role == 'tool' else '<|go|>' }}{%- endif %}"""


def _letters() -> dict[int, str]:
    """How GPT-2's tokenizer writes each byte as a letter that can be seen."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(_BYTES) if byte not in seen]
    return {byte: chr(byte) for byte in seen} | {byte: chr(_BYTES + place) for place, byte in enumerate(hidden)}


def write(path: Path) -> None:
    """Writes the model in the GGUF format (github.com/ggml-org/ggml, docs/gguf.md)."""
    letters = _letters()
    spoken = (*FIRST, *CALL, *SECOND)
    tokens = [letters[byte] for byte in range(_BYTES)]
    tokens += [*_SPECIAL, *("".join(letters[byte] for byte in text.encode()) for text in spoken)]
    size = len(tokens)
    width = -(-size // 32) * 32
    begin, end = _BYTES + len(_SPECIAL), _BYTES + 1
    answers = {_BYTES + 2: range(begin, size - len(SECOND)), _BYTES + 3: range(size - len(SECOND), size)}
    follows = dict.fromkeys(range(size), end)
    for start, said in answers.items():
        follows |= dict(zip((start, *said), (*said, end), strict=True))

    def matrix(rows: int, ones: dict[int, int], value: float = 1.0, columns: int = width) -> array[float]:
        numbers = array("f", bytes(4 * rows * columns))
        for column, row in ones.items():
            numbers[row * columns + column] = value
        return numbers

    same = {token: token for token in range(size)}
    ones = array("f", [1.0] * width)
    tensors: dict[str, tuple[tuple[int, ...], array[float]]] = {
        "token_embd.weight": ((width, size), matrix(size, same)),
        "output_norm.weight": ((width,), ones),
        "output.weight": ((width, size), matrix(size, follows, 4.0)),
        "blk.0.attn_norm.weight": ((width,), ones),
        "blk.0.ffn_norm.weight": ((width,), ones),
        "blk.0.ffn_down.weight": ((32, width), matrix(width, {}, columns=32)),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"blk.0.{name}.weight"] = (width, width), matrix(width, {})
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"blk.0.{name}.weight"] = (width, 32), matrix(32, {})
    kinds = [_NORMAL] * _BYTES + [_CONTROL] * len(_SPECIAL) + [_NORMAL] * len(spoken)
    facts: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.context_length": 32_768,
        "llama.embedding_length": width,
        "llama.block_count": 1,
        "llama.feed_forward_length": 32,
        "llama.attention.head_count": width // 32,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [f"{letters[1]} {letters[2]}"],
        "tokenizer.ggml.bos_token_id": _BYTES,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.chat_template": TEMPLATE,
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(facts))
    head += b"".join(_text(name) + _value(value) for name, value in facts.items())
    offset = 0
    for name, (shape, numbers) in tensors.items():
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += -(-len(numbers) * 4 // 32) * 32
    data = b"".join(numbers.tobytes() + bytes(-len(numbers) * 4 % 32) for _, numbers in tensors.values())
    path.write_bytes(head + bytes(-len(head) % 32) + data)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + _text(value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def serve(model: str, context: int) -> None:
    """Serves at a port of its own choice, which it prints."""
    import socket
    import threading

    llama: Any = import_module("xllamacpp")  # has no types, and is not there everywhere
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parameters = llama.CommonParams()
    parameters.model.path = model
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.fit_params = False
    server = llama.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
