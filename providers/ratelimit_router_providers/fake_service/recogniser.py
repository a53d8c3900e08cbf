"""Finds people, organisations, places, dates and amounts in a text by rules: small, honest, without a model.

Runs of capitalised words are cut at titles, company endings and known names, and each piece is named by what is known
about it: its list, its ending, a given name in front, or the same name elsewhere in the text. What nothing is known
about is left out. It misses much, above all outside English; what it gives, a reader should accept.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ratelimit_router_providers.fake_service import gazetteer, numerals
from ratelimit_router_providers.fake_service.words import Run, Word, bare, capital, language, plain, runs

__all__ = ["Entity", "recognise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A name where it stands: `text` is exactly `article[start:end]`.

    `type`: person, organisation, place, date or amount.
    """

    type: str
    text: str = field(repr=False)
    start: int
    end: int


_INITIAL = re.compile(r"[A-Z]\.?$")
_INITIALS = re.compile(r"(?:[A-Z]\.){2,}")
_GERMAN_OFFICE = re.compile(r"[A-ZÄÖÜ]\w{2,}(?:minister|präsident|chef|sprecher|direktor|kanzler|meister)(?:in)?")
_SAID_BEFORE = re.compile(
    r"\b(?:said|says|by|told|added|named|called|against|with|spokesman|minister|analyst)\s+$",
)
_SAID_AFTER = re.compile(
    r",?\s+(?:who|said|says|told|added|an? [\w-]+ (?:analyst|economist|trader|official)|"
    r"an? (?:analyst|economist|trader|senior)|"
    r"analyst|economist|head of|president|chairman|director|minister|aged|\d\d\b)",
)
_OF = frozenset(("of", "for", "de", "des", "du", "der", "für", "del"))


def recognise(text: str) -> Iterator[Entity]:
    """Every entity, in the order of the text; none overlaps another."""
    return iter(_Reader(text).entities())


class _Reader:
    """One text, and what has been learned from it so far."""

    def __init__(self, text: str):
        self.text = text
        self.found: dict[tuple[int, int], str] = {}
        self.aliases: dict[str, str] = {}
        self.taken = bytearray(len(text))
        words = re.findall(r"[^\W\d_]+", text)
        self.lower = {word for word in words if word.islower()}
        self.language = language(words)

    def entities(self) -> list[Entity]:
        """Numbers first, since they bound names; then the names; then the names that were learned on the way."""
        self._claim(numerals.dates(self.text), "date")
        self._claim(numerals.amounts(self._without_claimed()), "amount")
        self._claim(numerals.years(self.text), "date")
        unknown: list[Run] = []
        for run in runs(self.text, self.taken):
            unknown += self._name(run)
        for run in unknown:
            self._recall(run)
        self._claim(_cjk_places(self.text), "place")
        spans = sorted(self.found.items())
        return [Entity(type=kind, text=self.text[start:end], start=start, end=end) for (start, end), kind in spans]

    def _claim(self, spans: Iterable[tuple[int, int]], kind: str) -> None:
        for start, end in spans:
            while end > start and self.text[end - 1] in " \t\n,.":
                end -= 1
            self._put(start, end, kind)

    def _put(self, start: int, end: int, kind: str) -> None:
        if end > start and not any(self.taken[start:end]):
            self.found[start, end] = kind
            self.taken[start:end] = b"\1" * (end - start)

    def _without_claimed(self) -> str:
        return "".join("\0" if taken else char for char, taken in zip(self.text, self.taken, strict=True))

    def _name(self, run: Run) -> list[Run]:
        """Name what can be named in a run; what is left over comes back for the second look."""
        run = _trim(run)
        if not run:
            return []
        for rule in (self._whole, self._after_possessive, self._company, self._titled, self._part_known, self._given):
            left = rule(run)
            if left is not None:
                return [rest for piece in left for rest in self._name(piece)]
        if self._unknown(run):
            return []
        return [run]

    def _whole(self, run: Run) -> list[Run] | None:
        """The whole run is on a list, or on the list of what looks like a name and is none."""
        name = plain(run)
        if name in gazetteer.MISLEADING or (len(run) == 1 and name in gazetteer.DEMONYMS):
            return []
        kind = self._listed(name)
        if kind is None:
            return None
        if not (kind == "organisation" and name.istitle() and name.lower() in self.lower):  # `Apple trees`
            self._add(run, kind)
        return []

    def _listed(self, name: str) -> str | None:
        known = name.title() if name.isupper() and len(name) > 3 and name not in gazetteer.SHOUTED_WORDS else name
        if name in gazetteer.PLACES or known in gazetteer.PLACES:
            return "place"
        if name in gazetteer.ORGANISATIONS:
            return "organisation"
        return None

    def _company(self, run: Run) -> list[Run] | None:
        """`Diamond Shamrock Corp`, `Bank of England`, `Ministry of Oil`: an ending, or a head with `of`."""
        for index, word in enumerate(run):
            if bare(word) in gazetteer.ORG_HEADS and index + 1 < len(run) and run[index + 1].text in _OF:
                begin = index if any(map(_is_title, run[:index])) else 0
                return self._organisation(run, begin, len(run))
        if run[0].text in gazetteer.FIRST_HEADS and len(run) > 1:
            return self._organisation(run, 0, len(run))
        end = self._end_of_company(run)
        if end == 0:
            return None
        begin = next((i + 1 for i in reversed(range(end)) if _is_title(run[i]) and i + 1 < end - 1), 0)
        if self.language == "de":  # `die Vertreter der Siemens AG`
            begin = next((i + 1 for i in reversed(range(begin, end)) if run[i].text.islower()), begin)
        if run[end - 1].text in ("Department", "Ministry") and end == 2 and run[0].text.lower() not in gazetteer.STOP:
            return self._organisation(run, 0, 2)
        if begin == 0 and all(self._plain_word(word) or self._is_ending(word, 1) for word in run[:end]):
            return None
        if end - begin == 1 or (
            end - begin == 2 and run[begin].text in gazetteer.DEMONYMS and not self._sure(run[end - 1])
        ):
            return None
        return self._organisation(run, begin, end)

    def _end_of_company(self, run: Run) -> int:
        """Behind the last ending, or behind the first that is a legal form; 0 if there is none."""
        end = 0
        for index, word in enumerate(run):
            if _is_title(word) and end:
                break
            if not self._is_ending(word, index):
                continue
            titled = index + 1 < len(run) and _is_title(run[index + 1])
            if titled and word.text in gazetteer.WEAK_SUFFIXES:
                continue
            if end and end < index and run[end - 1].text in gazetteer.LEGAL_FORMS:
                break
            end = index + 1
        return end

    def _organisation(self, run: Run, begin: int, end: int) -> list[Run]:
        body = run[begin:end]
        self._add(body, "organisation")
        names = [word for word in body if not self._is_ending(word, 1)]
        if names and len(names) < len(body) and not _is_listed_place(names):
            self._learn(names, "organisation")
            if len(names) > 1 and not _is_listed_place(names[:1]) and not self._plain_word(names[0]):
                self._learn(names[:1], "organisation")
        return [run[:begin], run[end:]]

    def _is_ending(self, word: Word, index: int) -> bool:
        return index > 0 and word.text in gazetteer.ORG_SUFFIXES

    @staticmethod
    def _sure(word: Word) -> bool:
        """An ending that only organisations have."""
        return word.text.lower().rstrip(".") not in gazetteer.COMMON

    def _titled(self, run: Run) -> list[Run] | None:
        """`Saudi Oil Minister Hisham Nazer`, `Sheikh Ali al-Khalifa al-Sabah`, `Mr. Smith`: the name behind a title."""
        for index, word in enumerate(run):
            if word.text in gazetteer.HONORIFICS and index + 1 < len(run) and word.text != "Saint":
                self._person(run[index:])
                return [run[:index]]
        ends = [i for i, word in enumerate(run) if _is_title(word)]
        if not ends:
            return None
        last = ends[-1] + 1
        behind = _trim(run[last:])
        if behind and len(behind) <= 5 and not self._known_place_or_org(behind):
            end = self._end_of_person(behind) if self.language == "de" else len(behind)
            self._person(behind[:end])
            behind = behind[end:]
        return [_before_role(run[: ends[0]]), behind]

    def _known_place_or_org(self, run: Run) -> bool:
        name = plain(run)
        return (
            self._listed(name) is not None or name in gazetteer.DEMONYMS or all(self._plain_word(word) for word in run)
        )

    def _after_possessive(self, run: Run) -> list[Run] | None:
        """`Kuwait's Oil Minister`: the owner and what it owns are two things."""
        for index, word in enumerate(run[:-1]):
            whole = " ".join(item.text for item in run[: index + 2])
            if bare(word) != word.text and whole not in gazetteer.ORGANISATIONS:
                return [run[: index + 1], run[index + 1 :]]
        return None

    def _part_known(self, run: Run) -> list[Run] | None:
        """A listed name inside a longer run: cut it out, unless run and place make one name (`Texaco Canada`)."""
        for size in range(len(run) - 1, 0, -1):
            for begin in range(len(run) - size + 1):
                piece = run[begin : begin + size]
                name = plain(piece)
                if name in gazetteer.MISLEADING:
                    return [run[:begin], run[begin + size :]]
                kind = self._listed(name)
                if kind is None or (size == 1 and self._is_given(run, begin)):
                    continue
                if kind == "organisation" and begin == 0 and len(run) == size + 1 and _is_listed_place(run[size:]):
                    self._add(run, kind)
                    return []
                if kind == "place" and run[-1].text in gazetteer.PLACE_TAILS and begin + size == len(run) - 1:
                    self._add(run[begin:], kind)
                    return [run[:begin]]
                self._add(piece, kind)
                return [run[:begin], run[begin + size :]]
        return None

    @staticmethod
    def _is_given(run: Run, index: int) -> bool:
        """A place's name that is a person's here: `Florence Smith`, `Jack London`."""
        as_first = index == 0 and bare(run[0]) in gazetteer.GIVEN_NAMES and len(run) > 1
        return as_first or (index == len(run) - 1 and index > 0 and bare(run[0]) in gazetteer.GIVEN_NAMES)

    def _given(self, run: Run) -> list[Run] | None:
        """`John F. Kennedy`, `Ursula von der Leyen`, `T.S. Eliot`: a given name or initials in front."""
        first = bare(run[0])
        if len(run) <= 5 and first in gazetteer.GIVEN_NAMES and any(self._family(word) for word in run[1:]):
            end = self._end_of_person(run) if self.language == "de" else len(run)
            self._person(run[:end])
            return [run[end:]]
        initials = _INITIAL.match(run[0].text) or _INITIALS.fullmatch(run[0].text)
        if initials and 2 <= len(run) <= 3 and run[1].text.istitle() and len(run[0].text) > 1:
            self._person(run)
            return []
        for index, word in enumerate(run[1:-1], start=1):
            office = self.language == "de" or all(self._plain_word(item) for item in run[:index])
            if bare(word) in gazetteer.GIVEN_NAMES and office:
                return [run[index:]]
        return None

    def _end_of_person(self, run: Run) -> int:
        """Behind the first family name: the next capital may be any German noun."""
        families = (
            i for i, word in enumerate(run) if i and self._family(word) and bare(word) not in gazetteer.GIVEN_NAMES
        )
        return next(families, len(run) - 1) + 1

    def _family(self, word: Word) -> bool:
        return capital(word) and not self._plain_word(word)

    def _unknown(self, run: Run) -> bool:
        """Names on no list: acronyms, waters and heights, and in English two words that nothing else explains."""
        name = plain(run)
        if len(run) == 1:
            return self._acronym(run[0], name)
        if run[-1].text in gazetteer.PLACE_TAILS and not self._plain_word(run[0]):
            self._add(run, "place")
            return True
        if bare(run[0]) in gazetteer.PLACE_HEADS and len(run) <= 3 and not self._plain_word(run[-1]):
            self._add(run, "place")
            return True
        initial = len(run) == 3 and _INITIAL.match(run[1].text)
        if self.language == "en" and (len(run) == 2 or initial) and not any(self._plain_word(word) for word in run):
            if run[0].opens and len(run) == 2 and run[0].text.lower() in self.lower:
                return False
            if (
                all(word.text.istitle() or _INITIAL.match(word.text) for word in run)
                and name not in self.aliases
                and self._speaks(run)
            ):
                self._person(run)
                return True
        return False

    def _speaks(self, run: Run) -> bool:
        """Somebody, by the words around: `said Alan Greenberger`, `Alan Greenberger, an analyst`."""
        before, after = self.text[max(0, run[0].start - 24) : run[0].start], self.text[run[-1].end : run[-1].end + 40]
        return bool(_SAID_BEFORE.search(before) or _SAID_AFTER.match(after))

    def _acronym(self, word: Word, name: str) -> bool:
        if not re.fullmatch(r"[A-Z][A-Z&]{2,3}", name) or word.opens or not self._mixed_case(word):
            return False
        common = name in gazetteer.ACRONYMS_IGNORED or name.lower() in gazetteer.COMMON
        if common or self.text[word.start - 1 : word.start] == "<":
            return True
        self._add([word], "organisation")
        return True

    def _mixed_case(self, word: Word) -> bool:
        around = self.text[max(0, word.start - 40) : word.end + 40]
        return sum(map(str.islower, around)) > sum(map(str.isupper, around))

    def _plain_word(self, word: Word) -> bool:
        """A common word with a capital."""
        lower = bare(word).lower()
        if _is_title(word) or word.text in gazetteer.DEMONYMS:
            return True
        return lower in gazetteer.COMMON or lower in gazetteer.STOP or lower in self.lower

    def _recall(self, run: Run) -> None:
        """A name that was introduced elsewhere, in full or with its title."""
        name = plain(run)
        if name in self.aliases:
            self._add(run, self.aliases[name])
            return
        for word in run:
            kind = self.aliases.get(bare(word))
            if kind and (len(run) == 1 or all(self._plain_word(other) for other in run if other is not word)):
                self._add([word], kind)
                return
        if self.language == "en" and len(run) == 1 and not run[0].opens and self._stands_as_place(run[0]):
            self._add(run, "place")

    def _stands_as_place(self, word: Word) -> bool:
        """`in Basra`, where the word is nothing else that is known."""
        before = self.text[max(0, word.start - 10) : word.start]
        after = self.text[word.end : word.end + 1]
        plain = (
            self._plain_word(word)
            or bare(word) in gazetteer.GIVEN_NAMES
            or not word.text.istitle()
            or len(word.text) < 4
            or "-" in word.text
        )
        return bool(re.search(r"\b(?:in|near)\s+$", before)) and not plain and after not in ("'", "’", "-")

    def _person(self, run: Run) -> None:
        if run and bare(run[-1]).lower() in gazetteer.PARTICLES:
            run = run[:-1]
        if not run:
            return
        self._add(run, "person")
        family = run[-1]
        if len(family.text) > 2:
            self.aliases.setdefault(bare(family), "person")

    def _learn(self, words: Run, kind: str) -> None:
        self.aliases.setdefault(plain(words), kind)

    def _add(self, run: Run, kind: str) -> None:
        start, end = run[0].start, run[-1].start + len(bare(run[-1]))
        if self.text[start:end].rstrip(".") not in gazetteer.PLACES and self.text[end - 1] == "." and kind == "person":
            end -= 1
        self._put(start, end, kind)


def _trim(run: Run) -> Run:
    """Without the small words at its ends, which have a capital only because a sentence begins."""
    while run and run[0].text.lower() in gazetteer.STOP and plain(run[:2]) not in gazetteer.PLACES:
        if plain(run[:1]) in _KNOWN or (bare(run[0]) in gazetteer.GIVEN_NAMES and _is_unlisted(run[1:2])):
            break
        run = run[1:]
    while run and not capital(run[-1]):
        run = run[:-1]
    return run


def _before_role(run: Run) -> Run:
    """What stands before a title, without the words of the office itself: `Kuwaiti Oil` says only whose minister."""
    while run and run[-1].text.lower() in gazetteer.COMMON:
        run = run[:-1]
    return run


def _is_title(word: Word) -> bool:
    return word.text in gazetteer.TITLES or _GERMAN_OFFICE.fullmatch(word.text) is not None


def _is_unlisted(run: Run) -> bool:
    """A word that could be a family name."""
    return bool(run) and plain(run) not in _KNOWN and run[0].text.istitle() and run[0].text.lower() not in _ORDINARY


def _is_listed_place(run: Run) -> bool:
    return plain(run) in gazetteer.PLACES


def _cjk_places(text: str) -> Iterator[tuple[int, int]]:
    for name in gazetteer.CJK_PLACES:
        for match in re.finditer(re.escape(name), text):
            yield match.span()


_ORDINARY = gazetteer.COMMON | gazetteer.STOP | {word.lower() for word in gazetteer.DEMONYMS}
_KNOWN = gazetteer.PLACES | gazetteer.ORGANISATIONS
