"""Words of memory by address, for kernels, where a column, a register and a constant are read and written alike; and
bytes that are copied many at once.

A call of a kernel costs Python about as much for each array argument as for the rest of the call; so the interpreter is
given one array of addresses. Who passes an address holds the array for as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["address_of", "copy_bytes", "get_float", "get_word", "mark", "set_float", "set_word"]

_tools: Any = cgutils  # Numba has no types for what makes its code


def address_of(array: npt.NDArray[Any]) -> int:
    """The address of a C-contiguous array's first element."""
    if not array.flags.c_contiguous:
        raise AssertionError("only a contiguous array has one address")
    return int(array.__array_interface__["data"][0])


def _at(builder: Any, address: Any, index: Any, element: Any) -> Any:
    return builder.gep(builder.inttoptr(address, element.as_pointer()), [index])


def _reader(element: Any, result: Any) -> Callable[..., Any]:
    def get(typingctx: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_at(builder, args[0], args[1], element))

        return result(types.int64, types.int64), generate

    return get


def _writer(element: Any, value_type: Any) -> Callable[..., Any]:
    def put(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _at(builder, args[0], args[1], element))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, value_type), generate

    return put


def _mark(typingctx: Any, address: Any, index: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _at(builder, args[0], args[1], ir.IntType(8))
        builder.store(builder.or_(builder.load(pointer), builder.trunc(args[2], ir.IntType(8))), pointer)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _copy(typingctx: Any, target: Any, at: Any, source: Any, start: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place, first = (
            builder.gep(context.make_array(kind)(context, builder, array).data, [index])
            for kind, array, index in ((target, args[0], args[1]), (source, args[2], args[3]))
        )
        _tools.raw_memcpy(builder, place, first, args[4], 1)
        return builder.add(args[1], args[4])

    return types.int64(target, types.int64, source, types.int64, types.int64), generate


copy_bytes: Any = intrinsic(_copy)
"""`copy_bytes(target, at, source, start, count)`: bytes of one uint8 array into another; answers where they end."""
get_word: Any = intrinsic(_reader(ir.IntType(64), types.int64))
"""`get_word(address, index)`: the word at an index of an int64 array."""
get_float: Any = intrinsic(_reader(ir.DoubleType(), types.float64))
"""`get_float(address, index)`: the same memory as a float64."""
set_word: Any = intrinsic(_writer(ir.IntType(64), types.int64))
"""`set_word(address, index, value)`."""
set_float: Any = intrinsic(_writer(ir.DoubleType(), types.float64))
"""`set_float(address, index, value)`."""
mark: Any = intrinsic(_mark)
"""`mark(address, index, bits)`: set bits of one byte of a uint8 array."""
