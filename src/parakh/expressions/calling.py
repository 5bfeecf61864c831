"""Kernels that call others by their addresses, over arrays that are given as addresses.

A call from Python costs about as much for each array argument as for the rest of the call, and Python between two calls
costs more than both. So where a few events are decided on, one kernel calls the others, one after another, with arrays
made of the addresses in a descriptor. By their addresses, as a kernel that is compiled together with all that it calls
is compiled for as long as all of them. Who writes an address down holds the array for as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

__all__ = ["array_at", "array_type", "caller", "kernel_address"]

_tools: Any = cgutils  # Numba has no types for what makes its code
_arrays: Any = arrayobj
_tuple: Any = types.Tuple


def array_type(element: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    """The type of a C-contiguous array, as kernels have it."""
    return types.Array(element, dimensions, "C", readonly=readonly)


def kernel_address(kernel: Any, arguments: Sequence[Any], result: Any) -> int:
    """Where a kernel's machine code for arguments of these types stands; compiled, or loaded, where it must be."""
    kernel.compile(tuple(arguments))
    made = kernel.overloads[tuple(arguments)]
    if made.signature.return_type != result:
        raise AssertionError(f"{kernel.__name__} gives {made.signature.return_type}, not {result}")
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


def caller(arguments: Sequence[Any], result: Any) -> Any:
    """For kernels: `call(address, (a, b, ...))` calls the kernel at an address, which takes these types."""
    taken = tuple(arguments)

    def call(typingctx: Any, address: Any, values: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            convention = context.call_conv
            kind = convention.get_function_type(result, taken)
            kernel = builder.inttoptr(args[0], kind.as_pointer())
            parts = _tools.unpack_tuple(builder, args[1], len(taken))
            status, answer = convention.call_function(builder, kernel, result, taken, parts)
            with _tools.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return answer

        return result(types.int64, _tuple(taken)), generate

    return intrinsic(call)


def array_at(element: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    """For kernels: `get(address, n)`, or `get(address, rows, columns)`, is the array of this type that stands there."""
    kind = array_type(element, dimensions, readonly=readonly)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(types.intp)
        size = ir.Constant(word, context.get_abi_sizeof(context.get_data_type(element)))
        array = _arrays.make_array(kind)(context, builder)
        strides: list[Any] = []
        step = size
        for length in reversed(args[1:]):
            strides.insert(0, step)
            step = builder.mul(step, length)
        _arrays.populate_array(
            array,
            data=builder.inttoptr(args[0], array.data.type),
            shape=_tools.pack_array(builder, args[1:], word),
            strides=_tools.pack_array(builder, strides, word),
            itemsize=size,
            meminfo=None,
        )
        return array._getvalue()

    def vector(typingctx: Any, address: Any, length: Any) -> Any:
        return kind(types.int64, types.int64), generate

    def matrix(typingctx: Any, address: Any, rows: Any, columns: Any) -> Any:
        return kind(types.int64, types.int64, types.int64), generate

    return intrinsic(vector if dimensions == 1 else matrix)
