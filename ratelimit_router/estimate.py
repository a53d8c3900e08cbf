"""How many tokens a text will probably cost: fast, local, without a tokenizer, and rather too many than too few.

Every tokenizer cuts text in its own way, so this counts what they share: words by their length, and the letters of
other scripts by what one of them costs. The rates were fitted (November 2026) to two current vocabularies, OpenAI's
o200k and Mistral's Tekken, on news in 20 languages, code, JSON, HTML, emoji and noise. Against the larger of the two
the estimate is 1.05 to 1.25 times the count on English, German, French, Spanish, Japanese and Chinese news, 0.9 to 1.4
on all other kinds. Gemini's documentation gives "about 4 characters" a token; for English news this gives 3.8.

What it does badly: it overrates rulers (`-----`), blank lines and Vietnamese (1.8), and underrates what an old
vocabulary (cl100k) makes of scripts other than Latin (0.4 to 1.0). The service's own count, reported after the call, is
what the router settles on.
"""

import math
from collections import Counter

__all__ = ["estimate_tokens"]

_CONTINUATION = bytes(range(0x80, 0xC0))  # the bytes of UTF-8 that begin no character
_LATIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + bytes(range(0xC3, 0xCA))

# What one character costs beside its share of a word, by the first byte of its UTF-8 form.
_RATES: dict[bytes, float] = {
    bytes(range(0x09)) + bytes(range(0x0E, 0x20)) + b"\x7f": 1.0,  # control characters
    b"\t\n\x0b\x0c\r": 0.5,
    b"0123456789": 1.0,  # Gemini and Tekken cut numbers into digits
    b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~": 0.7,
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ": 0.3,
    b"\xc2": 1.0,  # £ § « » and the space that does not break
    b"\xc3": 0.4,  # é ö ñ
    bytes(range(0xC4, 0xCA)): 0.9,  # ł ş ő
    bytes(range(0xCA, 0xCD)): 1.0,  # phonetic signs, combining accents
    bytes(range(0xCD, 0xD0)): 0.46,  # Greek
    bytes(range(0xD0, 0xD4)): 0.38,  # Cyrillic
    bytes(range(0xD4, 0xD6)): 1.0,  # Armenian
    bytes(range(0xD6, 0xD8)): 0.48,  # Hebrew
    bytes(range(0xD8, 0xDC)): 0.32,  # Arabic
    bytes(range(0xDC, 0xE0)): 1.5,  # Syriac, Thaana, N'Ko
    b"\xe0": 0.54,  # the Indian scripts, Thai, Lao
    b"\xe1": 1.0,  # Georgian, Ethiopic, Khmer; Vietnamese accents
    b"\xe2": 1.1,  # dashes, quotes, arrows, signs
    b"\xe3": 0.85,  # kana
    bytes(range(0xE4, 0xEA)): 1.1,  # Han
    bytes(range(0xEA, 0xEE)): 0.72,  # Hangul
    b"\xee\xef": 1.2,  # private use, full-width forms, variation selectors
    bytes(range(0xF0, 0xF8)): 3.2,  # emoji, rare Han
}

_SPACE = 0.25  # a space beyond the one that a word takes with it


def _word_table() -> bytes:
    return bytes(ord("a") if byte in _LATIN else ord(" ") for byte in range(256))


def _rate_tables() -> tuple[bytes, dict[int, float]]:
    """The class of every first byte (the first one of its group), and what a character of that class costs."""
    table = bytearray(range(256))
    for group in _RATES:
        for byte in group:
            table[byte] = group[0]
    return bytes(table), {group[0]: rate for group, rate in _RATES.items()}


_WORDS = _word_table()
_CLASSES, _COSTS = _rate_tables()


def estimate_tokens(text: str) -> int:
    """About how many tokens `text` costs as a prompt; 0 for an empty text. Linear: 1 MB takes some 40 ms."""
    data = text.encode("utf-8", "surrogatepass")
    words = data.translate(_WORDS, _CONTINUATION).split()
    lengths = Counter(map(len, words))
    cost = sum(_word_cost(length) * count for length, count in lengths.items())
    characters = Counter(data.translate(_CLASSES, _CONTINUATION))
    cost += sum(_COSTS.get(first, 0.0) * count for first, count in characters.items())
    cost += _SPACE * max(0, characters[ord(" ")] - len(words))
    return math.ceil(cost)


def _word_cost(length: int) -> float:
    """Tokens of a Latin word: short ones are in the vocabulary, long ones are made of pieces."""
    if length <= 4:
        return 1.0
    if length <= 20:
        return 1.0 + (length - 4) * 0.25
    return 5.0 + (length - 20) * 0.5
