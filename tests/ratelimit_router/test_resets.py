"""The time of day and the zone at which a daily quota comes back."""

import datetime
import zoneinfo

import pytest

from ratelimit_router.errors import ConfigError
from ratelimit_router.resets import parse_reset


def test_a_time_and_a_zone_are_read() -> None:
    """Hours may have one digit; the zone is an IANA name."""
    assert parse_reset("00:00 America/Los_Angeles") == (datetime.time(0), zoneinfo.ZoneInfo("America/Los_Angeles"))
    assert parse_reset("9:30 UTC") == (datetime.time(9, 30), zoneinfo.ZoneInfo("UTC"))
    assert parse_reset("23:59 Etc/GMT+8") == (datetime.time(23, 59), zoneinfo.ZoneInfo("Etc/GMT+8"))


@pytest.mark.parametrize("written", ["", "00:00", "24:00 UTC", "12:60 UTC", "UTC 00:00", "00:00 UTC +1", "0 UTC"])
def test_what_is_no_time_and_zone_is_refused_with_an_example(written: str) -> None:
    """The message shows how it is written."""
    with pytest.raises(ConfigError, match="such as"):
        parse_reset(written)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "America", "../../etc/passwd", "/etc/passwd", "..", "America/"])
def test_a_zone_that_does_not_exist_is_refused(zone: str) -> None:
    """Unknown names, folders of zones and paths are no zones; none of them raises anything but ConfigError."""
    with pytest.raises(ConfigError, match=r"no time zone|must be a time"):
        parse_reset(f"00:00 {zone}")
