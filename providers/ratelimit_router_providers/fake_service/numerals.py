"""Dates and amounts by pattern: months, weekdays, years and quarters; money, shares, and what is counted in units.

Knows English (agency style of 1987, too: `1.50 dlrs`, `6 mln barrels per day`), German, French and Spanish, and the
common forms of Chinese and Japanese. It reads no sums: that two forms mean one amount it does not see.
"""

import re
from collections.abc import Iterator

__all__ = ["amounts", "dates", "years"]

_ROMANCE_MONTHS = (
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
)
_MONTHS = (
    "January|February|April|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|"
    "Januar|Jänner|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
    "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|"
    f"{_ROMANCE_MONTHS}"
)
_FULL_MONTHS = (
    "January|February|April|June|July|August|September|October|November|December|"
    "Januar|Jänner|Februar|März|Juni|Juli|Oktober|Dezember"
)
_TWO_FACED = "March|May"  # also a verb: alone only where a date can stand
_DAYS = (
    "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|"
    "Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag"
)
_DAYS_LOWER = (
    "[Ll]undi|[Mm]ardi|[Mm]ercredi|[Jj]eudi|[Vv]endredi|[Ss]amedi|[Dd]imanche|"
    "lunes|martes|miércoles|jueves|viernes|sábado|domingo"
)
_MONTH = rf"(?:{_MONTHS}|{_TWO_FACED})\b\.?"
_YEAR = r"(?:1[5-9]\d\d|20\d\d)(?!\d)"
_GAP = r"[ \t]{0,8}(?:\n[ \t]{0,8})?"  # bounded, so that no run of blanks costs its square
_S = rf"(?=\s){_GAP}"
_DATE_WORDS = (
    "in|since|until|till|of|by|from|during|before|after|to|for|through|early|late|mid|last|next|this|year|end|fiscal|"
    "on|and|between|im|seit|bis|ab|vom|Jahr|Jahre|Anfang|Ende|Mitte|"
    "en|depuis|de|fin|début|desde|hasta|année|año|dal|nel"
)

_NO_DAY = "(?:pct|percent|per cent|mln|bln|dlrs)"
_DATE = re.compile(
    "|".join(
        (
            r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)",
            r"(?<![\d.])\d{1,2}\.\d{1,2}\.(?:\d{4}|\d\d)(?!\d)",
            r"(?<![\d/])\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)(?![\d/])",
            r"\d{4}年(?:\d{1,2}月(?:\d{1,2}日)?)?|\d{1,2}月\d{1,2}日",
            rf"\b(?:{_MONTH}){_S}\d{{1,2}}(?:st|nd|rd|th)?\b(?![.,]\d)(?!{_S}{_NO_DAY})(?:,?{_S}{_YEAR})?",
            rf"(?<![\d.,])\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?{_S}(?:(?:of|de){_S})?{_MONTH}(?:,?{_S}(?:de{_S})?{_YEAR})?",
            rf"\b{_MONTH}{_S}(?:de{_S})?{_YEAR}",
            rf"\b(?:(?:first|second|third|fourth|1st|2nd|3rd|4th)[ -]quarter|Q[1-4])(?:{_S}(?:of{_S})?{_YEAR})?\b",
            rf"\b(?:{_DAYS})\b|\b(?:{_DAYS_LOWER})\b",
            rf"\b(?:early|late|mid)-(?:{_MONTHS}|{_TWO_FACED})\b",
            rf"\b(?:mid|early|late)-{_YEAR}s?",
            r"\b(?:1[5-9]|20)\d0s\b",
            r"(?<![\d.,/-])(?:19|20)\d\d/\d\d(?!\d)",
            rf"(?<=\bin )(?:{_TWO_FACED})\b(?! (?:be|have|not|well))",
            rf"\b(?:{_FULL_MONTHS})\b(?! [A-Z])",
        )
    )
)
_BARE_YEAR = re.compile(rf"\b(?:{_DATE_WORDS})[\s\-]{_GAP}({_YEAR})(?![.,]\d|[\w%])")
_MONTH_AFTER = re.compile(
    rf"\b(?i:in|since|until|by|from|last|next|early|late|of|for|and|through){_S}({_TWO_FACED})\b"
    r"(?![ ]?(?:be|have|not|[A-Z]))"
)
_MAI = re.compile(rf"\b(?:im|bis|seit|Anfang|Mitte|Ende|vom|ab){_S}(Mai)\b")
_MONTH_LOWER = re.compile(rf"\b(?:en|depuis|fin|début|desde|hasta|de){_S}({_ROMANCE_MONTHS})\b")

_NUMBER = r"(?:\d{1,3}(?:[,.  ’']\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?(?:-\d+/\d+)?|\d+/\d+)(?![\d])"
_WORD_NUMBER = (
    "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|hundred|"
    "zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|deux|trois|quatre|cinq|dos|tres|cuatro|cinco|half a)"
)
_BARE_SCALE = "mln|bln|million|billion|trillion|Millionen|Milliarden|millions|milliards|millones"
_SCALE = (
    f"{_BARE_SCALE}|thousand|bn|crore|lakh|Mio\\.?|Mrd\\.?|Million|Milliarde|Tausend|"
    "million de|mil millones|mil|miles|milioni|miliardi"
)
_MONEY = (
    "(?:(?:U\\.S\\.|US|Canadian|Australian|Singapore|Hong Kong|C|A|HK) ?)?(?:dlrs?|dollars?|cents?|cts)|"
    "pounds?|stg|sterling|pence|yen|marks?|francs?|guilders?|lire|pesos?|rupees?|rubles?|roubles?|yuan|riyals?|"
    "dinars?|dirhams?|crowns?|kronor|kroner|euros?|Euro|EUR|USD|GBP|CHF|JPY|Franken|Dollar|Pfund|dólares|dólar|livres"
)
_SHARE = "pct|percent|per cent|percentage points?|Prozent|pour cent|por ciento|basis points"
_COUNTED = (
    "barrels?|bpd|b/d|tonnes?|tons?|Tonnen|toneladas|shares|ounces?|bushels?|gallons?|acres?|hectares?|Hektar|"
    "hectáreas|kilometres|kilometers|kilomètres|kilómetros|Kilometer|km|metres|meters|miles|feet|kilograms|kilos?|kg|"
    "litres|liters|Liter|megawatts?|gigawatts?|Megawatt|MW|GW|kWh|degrees|cubic feet|cubic met(?:re|er)s"
)
_UNIT = (
    "barrel|bbl|day|tonne|ton|share|year|month|week|hour|ounce|gallon|litre|liter|unit|Tag|Jahr|Monat|jour|an|día|año"
)
_RATE = rf"(?:{_S}(?:a|an|per|pro|par|por){_S}(?:{_UNIT})\b)?"
_FIGURE = rf"(?<![\w.,/])(?:{_NUMBER}(?:{_S}(?:to|or|bis|à|a){_S}|[-–](?=\d)))?{_NUMBER}"
_SCALED = rf"(?:(?:{_S}|-)(?:{_SCALE})\b)?"
_SIGN = rf"(?:(?:US|C|A|HK|NZ|R)?[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|JPY|Rs\.?|US\$|DM){_S})"
_KINDS = rf"(?:(?:crude|metric|long|short|square){_S})?(?:{_COUNTED})\b"
_AMOUNT = re.compile(
    "|".join(
        (
            rf"{_SIGN}{_GAP}{_NUMBER}(?:{_S}(?:{_SCALE})\b|(?:bn|m|k|tn)\b)?",
            rf"{_FIGURE}{_SCALED}(?:{_GAP}[$€£¥]|(?:{_S}|-)(?:d['’]|de{_S})?(?:{_MONEY})\b){_RATE}",
            rf"{_FIGURE}(?:{_GAP}%|(?:{_S}|-)(?:{_SHARE})\b)",
            rf"{_FIGURE}{_SCALED}{_S}{_KINDS}{_RATE}",
            rf"\b{_WORD_NUMBER}(?:{_S}hundred)?(?:{_S}(?:{_SCALE}))?{_S}(?:{_MONEY}|{_COUNTED})\b{_RATE}",
            rf"\b{_WORD_NUMBER}(?:{_S}(?:{_SCALE}))?{_S}(?:{_SHARE})\b",
            rf"{_FIGURE}{_S}(?:{_BARE_SCALE})\b",
            r"(?<![\d,.])\d[\d,.]{0,20}(?:万|億|亿|兆)?(?:円|元|美元|ドル|欧元|人民币|トン|吨|日元)",
        )
    )
)


def amounts(text: str) -> Iterator[tuple[int, int]]:
    """Where amounts stand: money, percentages, and numbers with a unit."""
    for match in _AMOUNT.finditer(text):
        yield match.span()


def dates(text: str) -> Iterator[tuple[int, int]]:
    """Where dates stand: days, months, quarters, and years that a word marks as such."""
    for match in _DATE.finditer(text):
        yield match.span()
    for pattern in (_MONTH_AFTER, _MAI, _MONTH_LOWER):
        for match in pattern.finditer(text):
            yield match.span(1)


def years(text: str) -> Iterator[tuple[int, int]]:
    """Where a year stands that a word before it marks as one: `in 1987`, `seit 2023`."""
    for match in _BARE_YEAR.finditer(text):
        yield match.span(1)
