"""Dates and amounts by pattern: months, weekdays, years and quarters; money, shares, and what is counted in units.

Knows English (agency style of 1987, too: `1.50 dlrs`, `6 mln barrels per day`), German, French and Spanish, and the
common forms of Chinese and Japanese. It reads no sums: that two forms mean one amount it does not see.
"""

import re
from collections.abc import Iterator

__all__ = ["amounts", "dates", "years"]

_MONTHS = (
    "January|February|April|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|"
    "Januar|Jänner|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|"
    "enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre"
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
_DAYS_LOWER = "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo|Mardi|Lundi|Mercredi|Jeudi|Vendredi|Samedi|Dimanche"
_MONTH = rf"(?:{_MONTHS}|{_TWO_FACED})\b\.?"
_YEAR = r"(?:1[5-9]\d\d|20\d\d)(?!\d)"
_GAP = r"[ \t]*\n?[ \t]*"
_S = rf"(?=\s){_GAP}"
_DATE_WORDS = (
    "in|since|until|till|of|by|from|during|before|after|to|for|through|early|late|mid|last|next|this|year|end|fiscal|"
    "on|im|seit|bis|ab|vom|Jahr|Jahre|Anfang|Ende|Mitte|en|depuis|de|fin|début|desde|hasta|année|año|dal|nel|and|between"
)

_DATE = re.compile(
    "|".join(
        (
            r"(?<!\d)\d{4}-\d\d-\d\d(?!\d)",
            r"(?<![\d.])\d{1,2}\.\d{1,2}\.(?:\d{4}|\d\d)(?!\d)",
            r"(?<![\d/])\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)(?![\d/])",
            r"\d{4}年(?:\d{1,2}月(?:\d{1,2}日)?)?|\d{1,2}月\d{1,2}日",
            rf"\b(?:{_MONTH}){_S}\d{{1,2}}(?:st|nd|rd|th)?\b(?![.,]\d)(?!{_S}(?:pct|percent|per cent|mln|bln|dlrs))(?:,?{_S}{_YEAR})?",
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
    rf"\b(?:in|since|until|by|from|last|next|early|late|of|for|and|through){_S}({_TWO_FACED})\b(?![ ]?(?:be|have|not|[A-Z]))"
)
_MAI = re.compile(rf"\b(?:im|bis|seit|Anfang|Mitte|Ende|vom|ab){_S}(Mai)\b")
_MONTH_LOWER = re.compile(
    rf"\b(?:en|depuis|fin|début|desde|hasta|de){_S}({_MONTHS.partition('janvier')[2].strip('|')}|janvier)\b"
)

_NUMBER = r"\d{1,3}(?:[,.  ’']\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?(?:-\d+/\d+)?|\d+/\d+"
_WORD_NUMBER = (
    "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty|forty|fifty|sixty|hundred|"
    "zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|deux|trois|quatre|cinq|dos|tres|cuatro|cinco|half a)"
)
_SCALE = (
    "thousand|million|billion|trillion|mln|bln|bn|crore|lakh|Mio\\.?|Mrd\\.?|Millionen|Million|Milliarden|Milliarde|Tausend|"
    "millions|milliards|million de|millones|mil millones|mil|miles|milioni|miliardi"
)
_MONEY = (
    "(?:(?:U\\.S\\.|US|Canadian|Australian|Singapore|Hong Kong|C|A|HK) ?)?(?:dlrs?|dollars?|cents?|cts)|pounds?|stg|sterling|pence|yen|marks?|francs?|"
    "guilders?|lire|pesos?|rupees?|rubles?|roubles?|yuan|riyals?|dinars?|dirhams?|crowns?|kronor|kroner|euros?|Euro|EUR|USD|GBP|"
    "CHF|JPY|Franken|Dollar|Pfund|dólares|dólar|livres"
)
_SHARE = "pct|percent|per cent|percentage points?|Prozent|pour cent|por ciento|basis points|%"
_COUNTED = (
    "barrels?|bpd|b/d|tonnes?|tons?|Tonnen|toneladas|shares|ounces?|bushels?|gallons?|acres?|hectares?|Hektar|hectáreas|"
    "kilometres|kilometers|kilomètres|kilómetros|Kilometer|km|metres|meters|miles|feet|kilograms|kilos?|kg|litres|liters|Liter|"
    "megawatts?|gigawatts?|Megawatt|MW|GW|kWh|degrees|cubic feet|cubic met(?:re|er)s"
)
_RATE = rf"(?:{_S}(?:a|an|per|pro|par|por){_S}(?:barrel|bbl|day|tonne|ton|share|year|month|week|hour|ounce|gallon|litre|liter|unit|Tag|Jahr|Monat|jour|an|día|año)\b)?"
_RANGE = rf"(?:(?:{_NUMBER})(?:{_S}(?:to|or|bis|à|a){_S}|[-–](?=\d)))?"
_AMOUNT = re.compile(
    "|".join(
        (
            rf"(?:(?:US|C|A|HK|NZ|R)?[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|JPY|Rs\.?|US\$|DM){_S}){_GAP}(?:{_NUMBER})(?:{_S}(?:{_SCALE})\b|(?:bn|m|k|tn)\b)?(?:[-–](?:million|billion))?",
            rf"(?<![\w.,/]){_RANGE}(?:{_NUMBER})(?:(?:{_S}|-)(?:{_SCALE})\b)?(?:{_GAP}[$€£¥]|(?:{_S}|-)(?:d['’]|de{_S})?(?:{_MONEY})\b){_RATE}",
            rf"(?<![\w.,/]){_RANGE}(?:{_NUMBER})(?:{_GAP}%|(?:{_S}|-)(?:{_SHARE[:-2]})\b)",
            rf"(?<![\w.,/]){_RANGE}(?:{_NUMBER})(?:(?:{_S}|-)(?:{_SCALE})\b)?{_S}(?:(?:crude|metric|long|short|square){_S})?(?:{_COUNTED})\b{_RATE}",
            rf"\b{_WORD_NUMBER}(?:{_S}hundred)?(?:{_S}(?:{_SCALE}))?{_S}(?:{_MONEY}|{_COUNTED})\b(?<!second){_RATE}",
            rf"\b{_WORD_NUMBER}(?:{_S}(?:{_SCALE}))?{_S}(?:pct|percent|per cent|Prozent|pour cent|por ciento)\b",
            rf"(?<![\w.,/]){_RANGE}(?:{_NUMBER}){_S}(?:mln|bln|million|billion|trillion|Millionen|Milliarden|millions|milliards|millones)\b",
            r"\d[\d,.]*(?:万|億|亿|兆)?(?:円|元|美元|ドル|欧元|人民币|トン|吨)",
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
