"""Numbers, money, times and lengths of time as people read them; the terminal and the report say them alike."""

from __future__ import annotations

from datetime import UTC, datetime

from parakh.expressions.types import minor_digits

__all__ = ["ago", "day", "length", "moment", "money", "percent", "plural", "short_money", "thousands"]

_SYMBOLS = {"INR": "₹", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_SECOND = 1_000_000
_UNITS = (("d", 86_400 * _SECOND), ("h", 3_600 * _SECOND), ("m", 60 * _SECOND), ("s", _SECOND))


def thousands(number: int) -> str:
    """A whole number in groups of three.

    >>> thousands(1754155)
    '1,754,155'
    """
    return f"{number:,}"


def plural(count: int, noun: str, many: str = "") -> str:
    """A count with its noun.

    >>> plural(1, "rule"), plural(12000, "event"), plural(2, "entity", "entities")
    ('1 rule', '12,000 events', '2 entities')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def money(minor: int, currency: str) -> str:
    """An amount of minor units with its currency, all decimals shown.

    >>> money(123456789, "INR"), money(-500, "JPY"), money(1005, "CHF")
    ('₹1,234,567.89', '-¥500', 'CHF 10.05')
    """
    digits = minor_digits(currency)
    whole, part = divmod(abs(minor), 10**digits)
    text = f"{whole:,}" + (f".{part:0{digits}d}" if digits else "")
    return f"{'-' if minor < 0 else ''}{_symbol(currency)}{text}"


def short_money(minor: int, currency: str) -> str:
    """An amount rounded for a headline or an axis.

    >>> short_money(123456789, "INR"), short_money(99_000, "EUR"), short_money(0, "USD")
    ('₹1.23 M', '€990', '$0')
    """
    value = abs(minor) / 10 ** minor_digits(currency)
    sign = "-" if minor < 0 else ""
    for bound, suffix in ((1e9, " B"), (1e6, " M"), (1e4, " k")):
        if value >= bound:
            unit = 1e3 if suffix == " k" else bound
            scaled = value / unit
            return f"{sign}{_symbol(currency)}{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{suffix}"
    return f"{sign}{_symbol(currency)}{value:,.0f}"


def _symbol(currency: str) -> str:
    return _SYMBOLS.get(currency, f"{currency} ")


def percent(part: float, whole: float) -> str:
    """A share, with as many decimals as it needs; a dash where there is nothing to share.

    >>> percent(1, 3), percent(1, 2000), percent(0, 0), percent(5, 5)
    ('33.3 %', '0.05 %', '–', '100 %')
    """
    if not whole:
        return "–"
    share = 100 * part / whole
    if share in (0, 100):
        return f"{share:.0f} %"
    return f"{share:.2f} %" if share < 1 else f"{share:.1f} %"


def length(microseconds: int) -> str:
    """A length of time in its two largest units.

    >>> length(600_000_000), length(90_061_000_000), length(250_000)
    ('10m', '1d 1h', '0.25s')
    """
    if microseconds < 0:
        return "-" + length(-microseconds)
    if microseconds < 10 * _SECOND and microseconds % _SECOND:
        return f"{microseconds / _SECOND:.2f}s"
    for number, (name, unit) in enumerate(_UNITS):
        if microseconds >= unit:
            whole, rest = divmod(microseconds, unit)
            if number + 1 < len(_UNITS):
                small_name, small = _UNITS[number + 1]
                if rest // small:
                    return f"{whole}{name} {rest // small}{small_name}"
            return f"{whole}{name}"
    return "0s"


def ago(microseconds: int) -> str:
    """How long ago something was; `now` for the same moment."""
    return "now" if microseconds == 0 else f"{length(microseconds)} ago"


def moment(microseconds: int) -> str:
    """A moment in UTC to the second.

    >>> moment(1_736_499_130_000_000)
    '2025-01-10 08:52:10'
    """
    return f"{_datetime(microseconds):%Y-%m-%d %H:%M:%S}"


def day(microseconds: int) -> str:
    """The day of a moment in UTC.

    >>> day(1_736_499_130_000_000)
    '10 Jan 2025'
    """
    at = _datetime(microseconds)
    return f"{at.day} {at:%b %Y}"


def _datetime(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // _SECOND, UTC)
