"""The libraries of the extra `parakh[learn]`: asked for where needed, with a clear word where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from parakh.errors import InputError

__all__ = ["needed"]


def needed(name: str) -> ModuleType:
    """The module of this name; raises InputError that says how it is installed where it is missing.

    >>> needed("json").__name__
    'json'
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.split(".")[0].replace("sklearn", "scikit-learn")
        raise InputError(f"{library} is missing ({error}): pip install 'parakh[learn]'") from None
