"""Sentences for people that can be said again in another language.

    text = sentence("Slice {done} of about {count}", done=3, count=20)   # a str, in English
    key_and_values(text)  # {"key": "Slice {done} of about {count}", "values": {"done": 3, ...}}

What shows them, as the panel in Slicer does, looks the key up among its translations and puts
in the values. A text without values is its own key. Standard library only.
"""

from __future__ import annotations

from typing import Any


class Sentence(str):
    """A text that knows what it was made of. Values are numbers, texts, and sentences again."""

    key: str
    values: dict[str, Any]


def sentence(key: str, /, **values: Any) -> Sentence:
    """The key with the values put in, as ``str.format`` does."""
    made = Sentence(key.format(**values))
    made.key, made.values = key, values
    return made


def key_and_values(text: str) -> dict[str, Any]:
    """Key and values of a text, JSON-able."""
    if not isinstance(text, Sentence):
        return {"key": str(text), "values": {}}
    return {"key": text.key, "values": {name: _plain(v) for name, v in text.values.items()}}


def as_event(text: str) -> dict[str, Any]:
    """What an event says of its text for a translation; a plain text is its own key."""
    return {"said": key_and_values(text)} if isinstance(text, Sentence) else {}


def sentence_of(error: BaseException) -> str:
    """What an error says, still a :class:`Sentence` where it was made of one."""
    first = error.args[0] if len(error.args) == 1 else None
    return first if isinstance(first, Sentence) else str(error)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return key_and_values(value)
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, (bool, int, float, list)) or value is None else str(value)
