"""The words of an instruction that takes `name=value` pairs, as they are written."""

from __future__ import annotations


def split(text: str) -> list[str]:
    """The words of `text`, parted at blanks outside quotes, with quotes and escapes still in them.

    An unclosed quote is left for expand.py to refuse.
    """
    words: list[str] = []
    word = ""
    quote = ""
    escaped = False
    for character in text:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    return [*words, word] if word else words
