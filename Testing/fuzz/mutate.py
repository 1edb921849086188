"""Changes to whole inputs as accidents and attackers make them, the same for the same seed."""

from __future__ import annotations

import copy
import random
from typing import Any

NUMBERS = (0, 1, -1, 2, 3, 0.5, -0.0, 1e-30, 1e30, 1e308, 2**31 - 1, 2**31, 2**62, 10**400)
ODD: tuple[Any, ...] = (
    *NUMBERS,
    *(None, True, False, "", "x", "0", "\x1b[2J", "../../x", "x" * 5000, "a\nb"),
    *([], [0], [1, 2, 3], {}, {"x": 1}, [[[[]]]]),
)


def changed_bytes(data: bytes, random: random.Random, hot: int) -> bytes:
    """A few bytes of ``data`` changed, most of them among the first ``hot``, or a part cut off."""
    whole = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        end = min(hot, len(whole)) if random.random() < 0.8 else len(whole)
        place = random.randrange(max(end, 1))
        what = random.randrange(6)
        if what == 0:
            whole[place : place + 1] = bytes([random.randrange(256)])
        elif what == 1:  # one bit
            whole[place] ^= 1 << random.randrange(8)
        elif what == 2:  # a word, as lengths and dimensions are
            word = random.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
            whole[place : place + 4] = word.to_bytes(4, random.choice(("little", "big")))
        elif what == 3:
            whole[place : place + random.randrange(64)] = b""
        elif what == 4:
            whole[place:place] = random.randbytes(random.randrange(1, 64))
        elif random.random() < 0.3:
            del whole[random.randrange(len(whole) or 1) :]
        if not whole:
            whole = bytearray(b"\0")
    return bytes(whole)


def changed_values(values: Any, random: random.Random) -> Any:
    """A copy of JSON values in which one or two are odd, are gone or have come."""
    result = copy.deepcopy(values)
    for _ in range(random.choice((1, 1, 1, 2))):
        _change_one(result, random)
    return result


def _change_one(values: Any, random: random.Random) -> None:
    while isinstance(values, dict | list) and values:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = random.choice(keys)
        if isinstance(values[key], dict | list) and values[key] and random.random() < 0.8:
            values = values[key]
            continue
        what = random.random()
        if what < 0.8:
            values[key] = copy.deepcopy(random.choice(ODD))
        elif what < 0.9:
            del values[key]
        elif isinstance(values, dict):
            values[random.choice(("x", "kind", "format", "files"))] = random.choice(ODD)
        return
