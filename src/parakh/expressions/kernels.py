"""How the project's kernels are compiled: to native code once, kept on disk, without the interpreter's lock.

And without Numba's reference counts: by default each array that one kernel hands to another costs two atomic operations
a call, which made an intern five times slower. So a kernel makes no array; what it fills is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["inlined", "kernel"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_compile: Any = njit  # its stub does not know `_nrt`


def kernel(function: _Function) -> _Function:
    """Compile a function that makes no array (no np.empty, no copy) for arrays of fixed types.

    >>> import numpy as np
    >>> @kernel
    ... def total(words):
    ...     result = 0
    ...     for index in range(words.shape[0]):
    ...         result += words[index]
    ...     return result
    >>> total.py_func(np.arange(4))
    6
    """
    return cast(_Function, _compile(cache=True, nogil=True, _nrt=False)(function))


def inlined(function: _Function) -> _Function:
    """Compile a kernel into its callers, not called by them: for one that takes many arrays and is called for each value.

    An array is seven words on the stack; handing a dozen of them over costs more than interning a string.
    """
    return cast(_Function, _compile(cache=True, nogil=True, forceinline=True, _nrt=False)(function))
