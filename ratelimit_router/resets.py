"""The time of day at which a calendar quota comes back, as it is written: `00:00 America/Los_Angeles`."""

import datetime
import re
import zoneinfo

from ratelimit_router.errors import ConfigError
from ratelimit_router.limits import DAY

__all__ = ["next_reset", "parse_reset"]

_TIME_AND_ZONE = re.compile(r"\s*([01]?[0-9]|2[0-3]):([0-5][0-9])\s+([A-Za-z0-9_+\-/]{1,64})\s*")


def parse_reset(text: str) -> tuple[datetime.time, zoneinfo.ZoneInfo]:
    """The time of day and its IANA time zone. Raises ConfigError (without a key) if either makes no sense."""
    if (found := _TIME_AND_ZONE.fullmatch(text)) is None:
        raise ConfigError(
            f'must be a time and an IANA time zone such as "00:00 America/Los_Angeles", not {text[:60]!r}'
        )
    hour, minute, name = found.groups()
    try:
        zone = zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # unknown; not a zone's name; a folder of zones
        raise ConfigError(f'no time zone is called {name!r}: give an IANA name such as "America/Los_Angeles"') from None
    return datetime.time(int(hour), int(minute)), zone


def next_reset(resets: str, period: float, wall: float) -> float:
    """The first reset after `wall` (POSIX seconds).

    A day or longer: at that time of day, in that zone, daylight saving included. Shorter: at whole multiples of
    `period` seconds since the epoch.
    """
    if period < DAY:
        return (wall // period + 1) * period
    time, zone = parse_reset(resets)
    today = datetime.datetime.fromtimestamp(wall, zone).date()
    for day in range(3):
        found = datetime.datetime.combine(today + datetime.timedelta(days=day), time, zone).timestamp()
        if found > wall:
            return found
    raise AssertionError("unreachable: one of three days in a row lies ahead")
