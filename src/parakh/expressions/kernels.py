"""How the project's kernels are compiled: to native code once, kept on disk, without the interpreter's lock.

And without Numba's reference counts: by default each array that one kernel hands to another costs two atomic operations
a call, which made an intern five times slower. So a kernel makes no array; what it fills is handed in.

Numba keeps compiled code until the kernel's own file changes. What it was compiled together with (kernels it calls,
constants it reads) may stand in other files, so `stamped` makes them part of what must not have changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

__all__ = ["inlined", "kernel", "stamped"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_compile: Any = njit  # its stub does not know `_nrt`


def kernel(function: _Function) -> _Function:
    """Compile a function that makes no array (no np.empty, no copy) for arrays of fixed types.

    Use it as a decorator; the function as it was written stays at `.py_func`.
    """
    return cast(_Function, stamped(_compile(cache=True, nogil=True, _nrt=False)(function)))


def inlined(function: _Function) -> _Function:
    """Compile a kernel into its callers: for one that takes many arrays and is called for each value.

    An array is seven words on the stack; handing a dozen of them over costs more than interning a string.
    """
    return cast(_Function, stamped(_compile(cache=True, nogil=True, forceinline=True, _nrt=False)(function)))


def stamped(dispatcher: Any) -> Any:
    """A compiled function whose cache also holds only while what it uses of other modules stays the same.

    The decorator above `njit` where a kernel needs other options than `kernel` has. Without it an edit, or an upgrade
    of the package, could leave old machine code in kernels whose own file did not change. Where a later Numba keeps its
    cache otherwise, the function is as Numba made it.
    """
    function = dispatcher.py_func
    digest = hashlib.sha256()
    names = sorted(_names(function.__code__))
    for name in names:
        if name in function.__globals__:
            value = function.__globals__[name]
            parts = [getattr(value, part, None) for part in names] if isinstance(value, ModuleType) else [value]
            digest.update(f"{name}={[_identity(part) for part in parts]};".encode())
    dispatcher.stamp = digest.hexdigest()
    file: Any = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if hasattr(file, "_source_stamp"):
        file._source_stamp = (file._source_stamp, dispatcher.stamp)
    return dispatcher


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _identity(value: Any) -> str:
    """What a global of a kernel is, as far as compiled code depends on it."""
    if isinstance(value, bool | int | float | str | bytes | tuple | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    if hasattr(value, "py_func"):
        return _body(value.py_func) + str(getattr(value, "stamp", ""))
    if hasattr(value, "_defn"):  # an intrinsic
        return _body(value._defn)
    return type(value).__name__


def _body(function: Any) -> str:
    parts: list[str] = []
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        parts.append(f"{code.co_code.hex()}{code.co_names}")
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                pending.append(constant)
            else:
                parts.append(repr(constant))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
