"""The scripts of a Redis store, and how values are packed for them (MessagePack, which the server unpacks in C).

The same Lua is sent in two ways: as one script for each act (EVALSHA), to Redis 6.2; as one library of functions
(FCALL), to Redis 7 and Valkey, where an admission takes a seventh less: a script makes all its functions anew at every
call, and unpacks the chain each time.
"""

import re
import struct
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files

from ratelimit_router.stores.terms import NEVER, Kind, Offer, Ration, Record

__all__ = ["Script", "digest_of", "library", "pack", "packed_chain", "packed_records", "script"]

_SHARED = ("pages", "gauges", "ending", "page")
_PARTS = {
    "admit": ("pages", "gauges", "ending", "admit"),
    "end": ("pages", "gauges", "ending", "end"),
    "renew": ("pages", "gauges", "ending", "renew"),
    "restate": ("pages", "gauges", "restate"),
    "cool": ("pages", "gauges", "ending", "page", "cool"),
    "reopen": ("pages", "reopen"),
    "teach": ("pages", "teach"),
    "look": ("pages", "page", "look"),
    "greet": ("greet",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One atomic act. `digest`: how the server calls it once it has been told of it. `function`: in the library."""

    text: str
    digest: str
    function: str


@cache
def script(name: str) -> Script:
    """An act, with all that it is made of."""
    text = "\n".join(map(_part, _PARTS[name]))
    text = _inlined(text if name == "greet" else f"local KEYS, ARGV = KEYS, ARGV\n{text}\nreturn run()\n")
    function = "" if name == "greet" else f"{_library()[0]}_{name}"
    return Script(text=text, digest=digest_of(text), function=function)


def library() -> str:
    """All acts but the greeting. Its name changes with its text: two versions of this package can share a server."""
    name, body = _library()
    return f"#!lua name={name}\n{body}"


@cache
def _library() -> tuple[str, str]:
    shared = "\n".join(map(_part, _SHARED))
    acts = "".join(
        f"do\n{_part(act)}\nredis.register_function('@_{act}', function(keys, args)\n"
        "KEYS, ARGV = keys, args\nreturn run()\nend)\nend\n"
        for act in _PARTS
        if act != "greet"
    )
    body = _inlined(f"local KEYS, ARGV\n{shared}\n{acts}")
    name = f"ratelimit_router_{digest_of(body)[:12]}"
    return name, body.replace("'@_", f"'{name}_")


def _part(name: str) -> str:
    return (files("ratelimit_router.stores") / f"{name}.lua").read_text("utf-8")


def digest_of(text: str | bytes) -> str:
    """SHA1, as servers reckon it."""
    return sha1(text.encode() if isinstance(text, str) else text, usedforsecurity=False).hexdigest()


_CONSTANTS = re.compile(r"^local ([A-Z_]+(?:, [A-Z_]+)*) = (\d+(?:, \d+)*)\n", re.MULTILINE)
_WORDS = re.compile(r"--[^\n]*\n|'[^']*'|\b[A-Z][A-Z_]*\b")


def _inlined(text: str) -> str:
    """The same with every constant in its places: to Lua 5.1 each is a variable that every function has to be given.

    Without this an admission takes half as long again.
    """
    values: dict[str, str] = {}
    for names, numbers in _CONSTANTS.findall(text):
        values |= dict(zip(names.split(", "), numbers.split(", "), strict=True))
    bare = _CONSTANTS.sub("", text)
    return _WORDS.sub(lambda word: "\n" if word[0].startswith("--") else values.get(word[0], word[0]), bare)


Packable = int | str | bytes | tuple["Packable", ...]


def pack(value: Packable) -> bytes:
    """MessagePack of whole numbers, truths, texts, bytes and tuples."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        if 0 <= value < 128:
            return bytes((value,))
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, tuple):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">BI", 0xDB, len(raw)) + raw


def packed_chain(steps: tuple[tuple[Offer, ...], ...]) -> bytes:
    """The part of an `Ask` that is the same for every request of a line; see `admit.lua`."""
    terms = {one.name: one for step in steps for offer in step for one in offer.accounts}
    places = {name: place for place, name in enumerate(terms, 1)}
    calendars = [ration for one in terms.values() for ration in one.rations if ration.kind is Kind.CALENDAR]
    packed = [pack((one.concurrency, tuple(map(_flat, one.rations)))) for one in terms.values()]
    flat = [len(steps)]
    for step in steps:
        flat.append(len(step))
        for offer in step:
            flat += [len(offer.accounts), *(places[one.name] for one in offer.accounts)]
    return pack(
        (
            max((ration.opens for ration in calendars), default=0),
            min((ration.closes for ration in calendars), default=NEVER),
            tuple(terms),
            tuple(packed),
            tuple(flat),
            len({one.name for offer in steps[0] for one in offer.accounts}) if steps else 0,
        )
    )


def _flat(ration: Ration) -> tuple[int | str, ...]:
    return (
        ration.name,
        ration.unit + 1,
        int(ration.kind),
        ration.amount,
        ration.period,
        ration.capacity,
        ration.ceiling,
        ration.guard,
        ration.opens,
        ration.closes,
    )


def packed_records(records: tuple[Record, ...]) -> bytes:
    """Leases, in the order in which `pages.lua` keeps them."""
    return pack(
        tuple(
            (
                one.lease,
                (one.line, one.at, one.expires, one.running, one.ended, one.cost, one.accounts, one.epochs),
            )
            for one in records
        )
    )
