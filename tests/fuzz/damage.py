"""Damages bytes, texts and trees of JSON, as accidents and as attackers do."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "sk-5eCr3t-0f-the-env1ronment"  # in the environment of every case
PLANTED = "a-pickle-was-run"  # the file that a planted pickle leaves
ESCAPED = "escaped"  # the name that hostile paths lead to
MARKUP = "<script>alert(1)</script>"

TEXTS = (
    *("", " ", "\n", "\t", "\0", "-", "=", "==", "a=b", ".", "..", "/", "//", "~", "~nobody", "*"),
    *(f"../{ESCAPED}", f"../../{ESCAPED}", f"../../../{ESCAPED}", f"x/../../../{ESCAPED}", "a/b"),
    *(MARKUP, f'"><img src=x onerror={MARKUP}>', "</script><b>", "{{ 7*7 }}", "&lt;&amp;", "]]>"),
    *("${FUZZ_SECRET}", "$FUZZ_SECRET", "%s%n%d", "{0.__class__}", "`id`", "$(id)", "; rm x"),
    *("нуль", "🙂", "\u202eabc", "\ud800", "\u2028", "a" * 300, "a" * 10_000, "é" * 130),
    *("nan", "inf", "-inf", "-0", "0", "1", "-1", "2", "1e400", "1e-320", "0x10", "1_0", ".5", "½"),
    *(
        "9" * 20,
        "9" * 5000,
        "-" + "9" * 30,
        "4294967296",
        "2147483648",
        "1.5",
        "1,2",
        "[1,2]",
        "3.0",
    ),
    *("null", "true", "False", "none", "[", "]", "{", "}", "[" * 3000, "{a: " * 500, "[[1],[2]]"),
    *("&a [*a]", "*a", "{<<: *a}", "!!python/object/apply:os.system ['touch " + PLANTED + "']"),
    *("!!python/name:os.system", "!!binary x", "2001-01-01", "? a", "a: b", "- a", "#a", "{a: 1}"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, float("nan")),
    *(float("inf"), 1e308, "", "x", [], {}, [[]], {"": {}}, [None], "../" * 3 + ESCAPED, MARKUP),
)


class Planted:
    """A pickle that leaves a file in the working directory where it is run."""

    def __reduce__(self):
        return Path.touch, (Path(PLANTED),)


def planted() -> bytes:
    """The bytes of such a pickle."""
    return pickle.dumps(Planted())


def text(rng: random.Random, root: Path) -> str:
    """A hostile text; some are paths out of the folders that a case was given."""
    if rng.random() < 0.05:
        return str(root / ESCAPED)
    if rng.random() < 0.15:
        return "".join(chr(rng.randrange(1, 0x2FF)) for _ in range(rng.randrange(12)))
    return rng.choice(TEXTS)


def data(rng: random.Random, whole: bytes) -> bytes:
    """The bytes with bits turned, parts cut out, repeated, or replaced; sometimes all of them."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice([b"", b"\0", b"\x89PNG", b"{}", b"[]", b"PAR1", planted()])
    if kind == 1:
        return whole[: rng.randrange(len(whole) + 1)]
    if kind == 2:
        return whole + rng.randbytes(rng.randrange(1, 64))
    damaged = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        # headers and footers hold what readers trust
        near = rng.choice([64, 1024, len(damaged)])
        at = rng.randrange(min(near, len(damaged))) if damaged else 0
        at = len(damaged) - 1 - at if rng.random() < 0.5 else at
        length = rng.choice([1, 1, 2, 4, 8])
        if kind == 3:
            damaged[at : at + length] = rng.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
        elif kind == 4:
            del damaged[at : at + length]
        elif kind == 5:
            damaged[at:at] = damaged[max(0, at - length) : at]
        elif damaged:
            damaged[min(at, len(damaged) - 1)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def tree(rng: random.Random, content: Any, root: Path) -> Any:
    """A tree of dictionaries and lists with some leaves, keys or branches replaced."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = _hit(rng, content, root)
    return content


def _hit(rng: random.Random, content: Any, root: Path) -> Any:
    inside = isinstance(content, dict | list) and len(content)
    if not inside or rng.random() < 0.1:
        return _value(rng, content, root)
    key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
    deed = rng.random()
    if deed < 0.1:
        del content[key]
    elif deed < 0.2 and isinstance(content, dict):
        content[text(rng, root)] = content[key]
    elif deed < 0.25 and isinstance(content, list):
        content.append(content[key])
    else:
        content[key] = _hit(rng, content[key], root)
    return content


def _value(rng: random.Random, before: Any, root: Path) -> Any:
    number = isinstance(before, int | float) and not isinstance(before, bool)
    near: list[Callable[[], Any]] = [lambda: rng.choice(VALUES), lambda: text(rng, root)]
    if number:
        near += 2 * [
            lambda: -before,
            lambda: before + 1,
            lambda: before * 10**9,
            lambda: str(before),
        ]
    return rng.choice(near)()


def dumped(rng: random.Random, content: Any) -> bytes:
    """The tree as JSON; rarely JSON that is nested deeper than a parser's stack."""
    if rng.random() < 0.02:
        return b"[" * 100_000
    if rng.random() < 0.02:
        return b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    return json.dumps(content).encode("utf-8", "surrogatepass")
