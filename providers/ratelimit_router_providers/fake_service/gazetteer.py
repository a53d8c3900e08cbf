"""Names and words that the recogniser knows, read from `gazetteer.txt` beside this file."""

import re
from importlib.resources import files

__all__ = [
    "ABBREVIATIONS",
    "ACRONYMS_IGNORED",
    "CJK_PLACES",
    "COMMON",
    "DEMONYMS",
    "ENGLISH",
    "FIRST_HEADS",
    "GERMAN",
    "GIVEN_NAMES",
    "HONORIFICS",
    "LEGAL_FORMS",
    "MISLEADING",
    "ORGANISATIONS",
    "ORG_HEADS",
    "ORG_SUFFIXES",
    "PAIRED",
    "PARTICLES",
    "PLACES",
    "PLACE_HEADS",
    "PLACE_TAILS",
    "PLURAL_HEADS",
    "SHOUTED_WORDS",
    "STOP",
    "TITLES",
    "WEAK_SUFFIXES",
]


def _sections() -> dict[str, frozenset[str]]:
    text = files("ratelimit_router_providers.fake_service").joinpath("gazetteer.txt").read_text(encoding="utf-8")
    found: dict[str, frozenset[str]] = {}
    for part in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("]")
        words = body.partition("\n")[2].split()
        found[name] = frozenset(word.replace("_", " ") for word in words)
    return found


_FOUND = _sections()

ACRONYMS_IGNORED = _FOUND["acronyms_ignored"]
CJK_PLACES = _FOUND["cjk_places"]
COMMON = _FOUND["common"]
DEMONYMS = _FOUND["demonyms"]
GIVEN_NAMES = _FOUND["given_names"]
HONORIFICS = _FOUND["honorifics"]
LEGAL_FORMS = _FOUND["legal_forms"]
MISLEADING = _FOUND["misleading"]
ORGANISATIONS = _FOUND["organisations"]
ORG_HEADS = _FOUND["org_heads"]
ORG_SUFFIXES = _FOUND["org_suffixes"]
PARTICLES = _FOUND["particles"]
PLACES = _FOUND["places"]
PLACE_HEADS = _FOUND["place_heads"]
PLACE_TAILS = _FOUND["place_tails"]
STOP = _FOUND["stop"]
TITLES = _FOUND["titles"]
WEAK_SUFFIXES = _FOUND["weak_suffixes"]
ABBREVIATIONS = _FOUND["abbreviations"]
GERMAN = _FOUND["german"]
ENGLISH = _FOUND["english"]
PAIRED = _FOUND["paired"]
PLURAL_HEADS = _FOUND["plural_heads"]
SHOUTED_WORDS = _FOUND["shouted_words"]
FIRST_HEADS = _FOUND["first_heads"]
