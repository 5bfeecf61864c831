"""Raw memory for the window kernels: all state is words in a few flat arrays, read and written by address.

An address is the int64 that `array.ctypes.data` gives. A kernel that takes one control array in place of forty arrays
is called in a few microseconds, which is what deciding on one event at a time needs. Nothing here checks bounds: the
kernels that own a table reserve its room before they write (`state.py` grows it between calls).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "get",
    "kernel",
    "load",
    "load8",
    "load32",
    "move_words",
    "number",
    "part",
    "prefetch",
    "put",
    "sources_digest",
    "store",
    "store8",
    "store32",
    "word",
]

_tools: Any = cgutils  # Numba has no types for what makes its code
_compile: Any = njit  # its stub does not know the options that begin with `_` and `no_`
_OPTIONS = {"nogil": True, "error_model": "numpy", "_nrt": False}
kernel: Any = _compile(cache=True, **_OPTIONS)
"""The decorator of what Python calls; division by zero gives infinity or NaN, as in NumPy."""
part: Any = _compile(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)
"""The decorator of what only kernels call: without the wrappers for Python, which take as long to compile again."""


def sources_digest() -> int:
    """A number that changes with the text of any kernel of this package.

    Numba keeps compiled code until the one file that it stands in changes, whatever else it calls. An entry that closes
    over this number is compiled again when any of them does.
    """
    digest = hashlib.blake2b(digest_size=7)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"@kernel" in text or b"@part" in text or path.stem == "tables":
            digest.update(text)
    return int.from_bytes(digest.digest(), "big")


def _reader(bits: int) -> Any:
    def define(typingctx: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            value = builder.load(pointer)
            return value if bits == 64 else builder.sext(value, ir.IntType(64))

        return types.int64(types.int64), generate

    return intrinsic(define)


def _writer(bits: int) -> Any:
    def define(typingctx: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.IntType(bits).as_pointer())
            value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            builder.store(value, pointer)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(define)


load: Any = _reader(64)
"""`load(address)`: the word there."""
load32: Any = _reader(32)
load8: Any = _reader(8)
store: Any = _writer(64)
"""`store(address, word)`."""
store32: Any = _writer(32)
store8: Any = _writer(8)


def _get(typingctx: Any, address: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return types.int64(types.int64, types.int64), generate


def _put(typingctx: Any, address: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[2], builder.gep(pointer, [args[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


get: Any = intrinsic(_get)
"""`get(address, index)`: a word of the record there."""
put: Any = intrinsic(_put)
"""`put(address, index, word)`."""


def _move(typingctx: Any, target: Any, source: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word_type = ir.IntType(64).as_pointer()
        to, of = (builder.inttoptr(address, word_type) for address in args[:2])
        _tools.raw_memmove(builder, to, of, args[2], 8, align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


move_words: Any = intrinsic(_move)
"""`move_words(target, source, count)`: so many words, which may overlap, from one address to another."""


def _number(typingctx: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


def _word(typingctx: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


number: Any = intrinsic(_number)
"""`number(word)`: the float64 with these bits."""
word: Any = intrinsic(_word)
"""`word(number)`: the bits of a float64."""


def _prefetch(typingctx: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer_type = ir.IntType(8).as_pointer()
        int32 = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer_type], ir.FunctionType(ir.VoidType(), [pointer_type, int32, int32, int32])
        )
        pointer = builder.inttoptr(args[0], pointer_type)
        builder.call(function, [pointer, int32(0), int32(3), int32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


prefetch: Any = intrinsic(_prefetch)
"""`prefetch(address)`: asks the processor to fetch that cache line soon; harmless for any address."""
