"""A program: the typed expressions of one stage compiled to instructions, run over the rows of a frame.

All outputs of a builder share their common sub-expressions. Registers are reused as soon as what they hold is no longer
needed, so that a few hundred rules work within the first-level cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from parakh.expressions import instructions as op
from parakh.expressions.calls import DATE_UNITS
from parakh.expressions.columns import Layout
from parakh.expressions.execution import Program
from parakh.expressions.instructions import CHUNK, WIDTH
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.pool import Pool, Words
from parakh.expressions.remembered import Memory, text_function
from parakh.expressions.typed import Node, Op, Typed
from parakh.expressions.types import NULL_WORD, Kind
from parakh.expressions.values import Dictionary
from parakh.expressions.zones import Zone

__all__ = ["Program", "ProgramBuilder", "References"]


@dataclass(slots=True)
class References:
    """What programs read beside columns; one for an engine, shared by all its programs."""

    strings: Dictionary
    lists: Mapping[str, ListIndex] = field(default_factory=dict)
    tables: Mapping[str, TableIndex] = field(default_factory=dict)
    zone: Zone = field(default_factory=Zone)
    pool: Pool = field(default_factory=Pool)
    _zone_segment: int = field(default=-1, init=False)

    def zone_segment(self) -> int:
        if self._zone_segment < 0:
            self._zone_segment = self.pool.add(self.zone.words())
        return self._zone_segment


@dataclass(slots=True)
class _Instruction:
    """An instruction before registers are assigned.

    Its destination `cell` and its operands a, b, c and e are columns (below 0), values (numbered as they are made) or
    constants (from _CONSTANT on); `segment` is one of the pool's; no instruction has both that and `e`.
    """

    code: int
    cell: int
    a: int
    b: int
    c: int
    e: int
    k: int = 0
    segment: int = 0
    null: int = NULL_WORD

    def operands(self) -> tuple[int, ...]:
        return (self.a, self.b, self.c, self.e)


_CONSTANT = 1 << 40  # cells from here on are constants, until registers are assigned


class ProgramBuilder:
    """Collects outputs over one event type's layout; `time_slot` holds the event's time (for lists and tables).

    >>> from parakh.expressions.check import Scope, check
    >>> from parakh.expressions.strings import Strings
    >>> from parakh.expressions.types import BOOLEAN, INTEGER
    >>> layout = Layout()
    >>> amount, large = layout.add("amount", INTEGER), layout.add("large", BOOLEAN)
    >>> builder = ProgramBuilder(layout, References(Strings()), time_slot=-1)
    >>> builder.output(check("amount > 5", Scope({"amount": INTEGER})), large.slot)
    >>> words = np.array([[3, 7], [0, 0]], dtype=np.int64)
    >>> builder.build().run(words, 0, 2, np.zeros(2, dtype=np.uint8))
    >>> words[large.slot].tolist()
    [0, 1]
    """

    def __init__(self, layout: Layout, references: References, time_slot: int = -1) -> None:
        self._layout = layout
        self._references = references
        self._time_slot = time_slot
        self._code: list[_Instruction] = []
        self._values: dict[tuple[int, ...], int] = {}
        self._nodes: dict[Node, int] = {}
        self._constants: dict[int, int] = {}
        self._outputs: dict[int, int] = {}  # value -> the slot it was first written to
        self._slots = [time_slot]
        self._memories: dict[int, Memory] = {}
        self._owned: list[int] = []
        self._in_sets: dict[tuple[int, ...], int] = {}

    def output(self, typed: Typed, slot: int) -> None:
        """Compute an expression into a slot; later expressions may read the slot as a column."""
        value = self._value(typed.node)
        self._slots.append(slot)
        if 0 <= value < _CONSTANT and value not in self._outputs:
            self._outputs[value] = slot
        else:
            self._code.append(_Instruction(op.COPY, -1 - slot, value, value, value, value))

    def build(self) -> Program:
        """The program of all outputs so far."""
        code, registers = self._assigned()
        return Program(
            code=code,
            registers=registers,
            strings=self._references.strings,
            pool=self._references.pool,
            memories=self._memories,
            owned=tuple(self._owned),
            slots=max(self._slots) + 1,
        )

    # ---- values

    def _constant(self, word: int) -> int:
        return _CONSTANT + self._constants.setdefault(word, len(self._constants))

    def _emit(
        self,
        code: int,
        a: int,
        b: int | None = None,
        c: int | None = None,
        e: int | None = None,
        *,
        k: int = 0,
        segment: int = 0,
        null: int = NULL_WORD,
    ) -> int:
        """The value of an instruction, made once; operands that are not given repeat the first."""
        b, c, e = (a if part is None else part for part in (b, c, e))
        key = (code, a, b, c, e, k, segment, null)
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = len(self._values)
            self._code.append(_Instruction(code, value, a, b, c, e, k, segment, null))
        return value

    def _value(self, root: Node) -> int:
        """The value of a node, computing what it needs first."""
        for node in root.walk():
            if node not in self._nodes:
                self._nodes[node] = self._lower(node)
        return self._nodes[root]

    def _lower(self, node: Node) -> int:
        if node.op is Op.COLUMN:
            column = self._layout[str(node.value)]
            if column.type != node.type:
                raise AssertionError(f"{column.name} is {column.type} in the layout, {node.type} in the expression")
            self._slots.append(column.slot)
            return -1 - column.slot
        if node.op is Op.CONSTANT:
            return self._constant(self._word(node))
        if node.op in _COMPARISONS:
            return self._compared(node)
        args = [self._nodes[part] for part in node.args]
        is_float = node.type.is_float
        if node.op in (Op.AND, Op.OR):
            result = args[0]
            for arg in args[1:]:
                result = self._emit(op.AND if node.op is Op.AND else op.OR, result, arg)
            return result
        if node.op in _PLAIN:
            whole, real = _PLAIN[node.op]
            return self._emit(real if node.args[-1].type.is_float else whole, *args)
        match node.op:
            case Op.ROUND:
                k = _bits(10.0 ** _int(node.value)) if is_float else _int(node.value)
                return self._emit(op.ROUND_F if is_float else op.ROUND_TO, *args, k=k)
            case Op.FLOOR | Op.CEIL:
                down = node.op is Op.FLOOR
                if is_float:
                    return self._emit(op.FLOOR_F if down else op.CEIL_F, *args)
                return self._emit(op.FLOOR_TO if down else op.CEIL_TO, *args, k=_int(node.value))
            case Op.TO_NUMBER:
                return self._emit(op.TO_NUMBER, *args, k=_bits(float(_int(node.value))))
            case Op.DISTANCE_KM:
                return self._emit(op.DISTANCE_KM, *args)
            case Op.IN:
                return self._member(node, args[0])
            case Op.HOUR:
                return self._emit(op.HOUR, *args, segment=self._references.zone_segment())
            case Op.DAY_OF_WEEK:
                return self._emit(op.DAY_OF_WEEK, *args, segment=self._references.zone_segment())
            case Op.DATE_DIFF:
                unit = DATE_UNITS.index(str(node.value))
                return self._emit(op.DATE_DIFF, *args, k=unit, segment=self._references.zone_segment())
            case Op.IN_LIST | Op.LOOKUP:
                return self._as_of(node, args[0])
            case _:
                return self._remembered(node, args[0])

    def _word(self, node: Node) -> int:
        """The word that holds a constant."""
        value = node.value
        if value is None:
            return node.type.null_word
        if node.type.is_float:
            assert isinstance(value, int | float | Decimal)
            return _bits(float(value) + 0.0)
        if node.type.kind is Kind.STRING:
            return self._references.strings.intern(str(value))
        return _int(value)

    def _compared(self, node: Node) -> int:
        """A comparison; with a constant where one side is one."""
        left, right = node.args
        real = left.type.is_float
        constant = right.op is Op.CONSTANT or left.op is Op.CONSTANT
        if constant and not (right.op is Op.CONSTANT and left.op is Op.CONSTANT):
            flipped = left.op is Op.CONSTANT
            operand, word = (right, self._word(left)) if flipped else (left, self._word(right))
            code = _WITH_CONSTANT_F[node.op, flipped] if real else _WITH_CONSTANT[node.op, flipped]
            if node.op is Op.LESS and not real:  # x < k is x <= k - 1, k < x is x >= k + 1
                if flipped and word == 2**63 - 1:
                    code, word = op.AT_MOST_K, NULL_WORD
                else:
                    word += 1 if flipped else -1
            return self._emit(code, self._nodes[operand], k=word)
        whole, with_float = _COMPARISONS[node.op]
        return self._emit(with_float if real else whole, self._nodes[left], self._nodes[right])

    def _member(self, node: Node, operand: int) -> int:
        assert isinstance(node.value, tuple)
        kind = node.args[0].type.kind
        if kind is Kind.NUMBER:
            words = tuple(_bits(float(value)) for value in sorted(node.value))
        elif kind is Kind.STRING:
            words = tuple(sorted(self._references.strings.intern(str(value)) for value in node.value))
        else:
            words = tuple(sorted(int(value) for value in node.value))
        if len(words) == 1:
            return self._emit(op.EQUAL_FK if kind is Kind.NUMBER else op.EQUAL_K, operand, k=words[0])
        if words not in self._in_sets:
            self._in_sets[words] = self._segment(np.array([len(words), *words], dtype=np.int64))
        return self._emit(op.IN_F if kind is Kind.NUMBER else op.IN, operand, segment=self._in_sets[words])

    def _segment(self, words: Words) -> int:
        number = self._references.pool.add(words)
        self._owned.append(number)
        return number

    def _as_of(self, node: Node, key: int) -> int:
        """in_list and lookup, as of the event's time."""
        if self._time_slot < 0:
            raise AssertionError("the program looks values up as of the event's time, and the layout has none")
        if node.args[0].type.is_float:  # keys are compared as words: one zero, and NULL as other words have it
            plain = self._emit(op.ADD_F, key, self._constant(0))
            key = self._emit(op.SELECT, self._emit(op.IS_NAN, key), self._constant(NULL_WORD), plain)
        references, time = self._references, -1 - self._time_slot
        if node.op is Op.IN_LIST:
            segment = references.lists[str(node.value)].attach(references.pool)
            return self._emit(op.IN_LIST, key, time, segment=segment)
        assert isinstance(node.value, tuple)
        table = references.tables[node.value[0]]
        column = table.column(node.value[1])
        segment = table.attach(references.pool)
        return self._emit(op.LOOKUP, key, time, k=column, segment=segment, null=node.type.null_word)

    def _remembered(self, node: Node, operand: int) -> int:
        """A function of a text: computed in Python once for each text, then read from memory."""
        memory = Memory(self._references.pool, text_function(node, self._references.strings))
        self._owned.append(memory.segment)
        value = self._emit(op.MEMO, operand, segment=memory.segment)
        self._memories[len(self._code) - 1] = memory
        return value

    # ---- registers

    def _assigned(self) -> tuple[Words, Words]:
        """The code with every value in a register, or in the slot that it is an output of; and the registers."""
        last: dict[int, int] = {}
        for index, instruction in enumerate(self._code):
            for operand in instruction.operands():
                last[operand] = index
        cells: dict[int, int] = {}
        free: list[int] = []
        count = 0
        for index, instruction in enumerate(self._code):
            value = instruction.cell
            if value >= 0:
                if value in self._outputs:
                    cells[value] = -1 - self._outputs[value]
                elif free:
                    cells[value] = free.pop()
                else:
                    cells[value] = count
                    count += 1
            # A destination is never one of its own operands: overlapping loops would not be vectorised.
            for operand in set(instruction.operands()):
                if 0 <= operand < _CONSTANT and last[operand] == index and cells[operand] >= 0:
                    free.append(cells[operand])
        count = max(count, 1)
        registers = np.zeros((count + len(self._constants), CHUNK), dtype=np.int64)
        for word, number in self._constants.items():
            registers[count + number] = word

        def cell(value: int) -> int:
            return value if value < 0 else count + value - _CONSTANT if value >= _CONSTANT else cells[value]

        code = np.zeros((len(self._code), WIDTH), dtype=np.int64)
        for index, item in enumerate(self._code):
            last_word = cell(item.e) if item.code == op.DISTANCE_KM else item.segment
            cells_of = (cell(item.cell), cell(item.a), cell(item.b), cell(item.c))
            code[index] = (item.code, *cells_of, item.k, last_word, item.null)
        return code, registers


def _bits(number: float) -> int:
    return int(np.float64(number).view(np.int64))


def _int(value: object) -> int:
    assert isinstance(value, int)
    return int(value)


_COMPARISONS = {
    Op.LESS: (op.LESS, op.LESS_F),
    Op.AT_MOST: (op.AT_MOST, op.AT_MOST_F),
    Op.EQUAL: (op.EQUAL, op.EQUAL_F),
    Op.NOT_EQUAL: (op.NOT_EQUAL, op.NOT_EQUAL_F),
}
# (comparison, whether the constant is on the left)
_WITH_CONSTANT = {
    (Op.LESS, False): op.AT_MOST_K,
    (Op.LESS, True): op.AT_LEAST_K,
    (Op.AT_MOST, False): op.AT_MOST_K,
    (Op.AT_MOST, True): op.AT_LEAST_K,
    (Op.EQUAL, False): op.EQUAL_K,
    (Op.EQUAL, True): op.EQUAL_K,
    (Op.NOT_EQUAL, False): op.NOT_EQUAL_K,
    (Op.NOT_EQUAL, True): op.NOT_EQUAL_K,
}
_WITH_CONSTANT_F = {
    (Op.LESS, False): op.LESS_FK,
    (Op.LESS, True): op.MORE_FK,
    (Op.AT_MOST, False): op.AT_MOST_FK,
    (Op.AT_MOST, True): op.AT_LEAST_FK,
    (Op.EQUAL, False): op.EQUAL_FK,
    (Op.EQUAL, True): op.EQUAL_FK,
    (Op.NOT_EQUAL, False): op.NOT_EQUAL_FK,
    (Op.NOT_EQUAL, True): op.NOT_EQUAL_FK,
}
# (of words, of float64); chosen by the type of the last argument
_PLAIN = {
    Op.NOT: (op.NOT, op.NOT),
    Op.IS_NULL: (op.IS_NULL, op.IS_NAN),
    Op.SELECT: (op.SELECT, op.SELECT),
    Op.COALESCE: (op.COALESCE, op.COALESCE_F),
    Op.ADD: (op.ADD, op.ADD_F),
    Op.SUBTRACT: (op.SUBTRACT, op.SUBTRACT_F),
    Op.MULTIPLY: (op.MULTIPLY, op.MULTIPLY_F),
    Op.DIVIDE: (op.DIVIDE, op.DIVIDE_F),
    Op.WHOLE_DIVIDE: (op.DIVIDE, op.DIVIDE_F),
    Op.MODULO: (op.MODULO, op.MODULO_F),
    Op.NEGATE: (op.NEGATE, op.NEGATE_F),
    Op.ABS: (op.ABS, op.ABS_F),
    Op.LN: (op.LN, op.LN),
    Op.SQRT: (op.SQRT, op.SQRT),
    Op.POWER: (op.POWER, op.POWER),
    Op.LEAST: (op.LEAST, op.LEAST_F),
    Op.GREATEST: (op.GREATEST, op.GREATEST_F),
}
