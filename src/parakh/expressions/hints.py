"""What a person may have meant: the known names that are closest to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest", "did_you_mean"]

_MOST = 3


def closest(name: str, known: Iterable[str]) -> str:
    """A hint for a word of a closed list: the one that is spelt alike; empty where none is.

    >>> closest("over-ride", ["override", "reason"]), closest("tx_fraud", ["TX_FRAUD"]), closest("x", ["reason"])
    ('did you mean override?', 'did you mean TX_FRAUD?', '')
    """
    names = list(known)
    folded = name.casefold().replace("-", "_")
    alike = [item for item in names if item.casefold() == folded and item != name]
    found = alike or difflib.get_close_matches(name, names, n=1)
    return f"did you mean {found[0]}?" if found else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: names spelt alike, the same feature of another entity, other windows of it.

    >>> did_you_mean("crad.payments_1h", ["card.payments_1h", "card.payments_1d", "amount"])
    'did you mean card.payments_1h?'
    """
    names = list(dict.fromkeys(known))
    if not names:
        return ""
    folded = {item.casefold(): item for item in reversed(names)}
    if name.casefold() in folded:
        return f"did you mean {folded[name.casefold()]}?"
    last = name.rpartition(".")[2]
    same_feature = [item for item in names if item.rpartition(".")[2] == last]
    if same_feature:
        best = difflib.get_close_matches(name, same_feature, n=1, cutoff=0.0)
        others = [item for item in same_feature if item not in best]
        return "did you mean " + " or ".join((best + others)[:_MOST]) + "?"
    close = difflib.get_close_matches(name, names, n=_MOST, cutoff=0.75)
    stem = name.rpartition("_")[0]
    windows = [item for item in names if stem and item.rpartition("_")[0] == stem]
    found = list(dict.fromkeys(windows + close))[:_MOST] if windows else close[:1]
    if not found:
        found = difflib.get_close_matches(name, names, n=1, cutoff=0.55)
    if found:
        return "did you mean " + " or ".join(found) + "?"
    entity = name.partition(".")[0]
    siblings = [item for item in names if "." in name and item.startswith(entity + ".")]
    if siblings:
        return f"{entity} has " + ", ".join(item.partition(".")[2] for item in siblings[:8])
    return "names in reach: " + ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
