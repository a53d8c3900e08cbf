"""Runs of capitalised words: what of a text may be a name, before anybody asks whose.

A run ends at punctuation, at a word without a capital (but not at the `of` of `Bank of England`), and at the end of a
line, unless the line was long: then an agency's terminal has wrapped it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ratelimit_router_providers.fake_service import gazetteer

__all__ = ["Run", "Word", "bare", "capital", "is_article_name", "is_headline", "language", "plain", "runs"]

LONGEST = 12
WRAPPED = 45

_WORD = re.compile(
    r"(?:[^\W\d_]\.){2,}"  # U.S.
    r"|[A-Z]\.(?= ?[A-Z])(?! (?:The|He|She|It|In|They|A|An|On|But|At|We|This)\b)"  # John F. Kennedy
    r"|[^\W\d_]+(?:[-&'’][^\W\d_]+)*"
    r"|&|[.,;:!?…\"“”„«»()\[\]—–*#>|/]|\d[\w.,]*"
)
_SENTENCE_END = frozenset('.!?…:"“”„«»([*#>|—–')
_POSSESSIVE = re.compile(r"['’]s?$")
_ARTICLE = re.compile(r"(?:al|el|as|an|ad|ash|bin)-[A-Z]")


@dataclass(frozen=True, slots=True)
class Word:
    """A capitalised word, or a particle inside a name. `opens`: it begins a sentence, so its capital means nothing."""

    text: str
    start: int
    end: int
    opens: bool = False


Run = Sequence[Word]


def runs(text: str, taken: Sequence[int]) -> Iterator[Run]:
    """Every run of a text; where `taken` is not 0, another reading has claimed the character."""
    for start, end in _blocks(text):
        yield from _runs_of(text, start, end, taken)


def bare(word: Word) -> str:
    """Without the possessive: `Kuwait's` is Kuwait."""
    return _POSSESSIVE.sub("", word.text) or word.text


def plain(run: Run) -> str:
    """The run as lists have it: one blank between words, no possessive at the end."""
    return " ".join([word.text for word in run[:-1]] + [bare(word) for word in run[-1:]])


def capital(word: Word) -> bool:
    """Whether it may end a name."""
    return word.text[0].isupper() or is_article_name(word.text)


def is_article_name(token: str) -> bool:
    """`al-Sabah`: a family name behind an Arabic article."""
    return _ARTICLE.match(token) is not None


def is_headline(line: str) -> bool:
    """Capitals that mean nothing: a line in capitals, or a short one with nearly every word capitalised."""
    words = re.findall(r"[^\W\d_]{2,}", line)
    if len(words) < 3:
        return False
    if sum(map(str.isupper, words)) > 0.7 * len(words):
        return True
    long = [word for word in words if len(word) > 3]
    capitals = sum(word[0].isupper() for word in long)
    return len(words) >= 4 and not line.rstrip().endswith((".", "!", "?", '"')) and capitals > 0.75 * max(1, len(long))


def language(words: Sequence[str]) -> str | None:
    """`de` or `en` by a text's small words, None for anything else."""
    german = sum(word.lower() in gazetteer.GERMAN for word in words)
    english = sum(word.lower() in gazetteer.ENGLISH for word in words)
    if german > english:
        return "de"
    return "en" if english and english * 12 >= len(words) else None


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Lines, joined where the first was wrapped."""
    start = line_start = 0
    for match in re.finditer(r"\n", text):
        line = text[line_start : match.start()]
        following = text[match.end() : match.end() + WRAPPED].lstrip(" \t")
        line_start = match.end()
        wraps = len(line) >= WRAPPED and following[:1] not in ("", "\n", "-", "*", "#") and not is_headline(line)
        if not wraps:
            yield start, match.start()
            start = match.end()
    yield start, len(text)


def _runs_of(text: str, start: int, end: int, taken: Sequence[int]) -> Iterator[Run]:
    shouted = is_headline(text[start:end])
    run: list[Word] = []
    opens, last = True, start
    for match in _WORD.finditer(text, start, end):
        token = match.group()
        claimed = bool(taken[match.start()])
        if claimed or not _joined(text[last : match.start()]) or len(run) == LONGEST:
            yield from _finished(run)
            run = []
        if not claimed and (token[0].isupper() or (run and _inside(token, run))):
            run.append(Word(token, match.start(), match.end(), opens or shouted))
        else:
            yield from _finished(run)
            run = []
        opens = not claimed and _ends_sentence(text, token, match.start())
        last = match.end()
    yield from _finished(run)


def _finished(run: list[Word]) -> Iterator[Run]:
    size = len(run)
    while size and not capital(run[size - 1]):
        size -= 1
    if size:
        yield run[:size]


def _joined(gap: str) -> bool:
    return not gap.strip() and gap.count("\n") <= 1


def _ends_sentence(text: str, mark: str, start: int) -> bool:
    if mark not in _SENTENCE_END:
        return False
    before = re.search(r"[^\W\d_]+$", text[max(0, start - 12) : start])
    return not (mark == "." and before is not None and before.group() in gazetteer.ABBREVIATIONS)


def _inside(word: str, run: Run) -> bool:
    """A word without a capital that may stand inside a name: `van`, `al-Sabah`, the `of` of `Bank of England`."""
    if word in gazetteer.PARTICLES or is_article_name(word) or word == "&":
        return True
    before = run[-1].text
    heads = {bare(item) for item in run} & gazetteer.ORG_HEADS
    match word:
        case "of" | "for":
            return before in gazetteer.ORG_HEADS or (word == "of" and before in gazetteer.PLACE_HEADS)
        case "the":
            return bool(heads) and before in ("of", "for")
        case "and":
            return before in gazetteer.PAIRED or (bool(heads & gazetteer.PLURAL_HEADS) and before not in ("of", "for"))
    return False
