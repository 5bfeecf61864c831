"""The instruction set that programs are written in and the interpreter runs: numbers of operations, in four families.

An instruction is eight words: operation, destination, three operands, a constant, a segment of the pool (a fourth
operand where it is DISTANCE_KM) and the result's NULL. A destination or operand is a cell: a register where it is 0 or
more, else the column in slot -1 - cell.
"""

from __future__ import annotations

__all__ = ["CHUNK", "OVERFLOW", "REGISTER_BYTES", "WIDTH"]

WIDTH = 8
CHUNK = 128
"""Rows that are worked on together: long enough to pay for the dispatch, short enough for the first-level cache."""
REGISTER_BYTES = CHUNK * 8
OVERFLOW = 1
"""The bit set in a row's flags where whole-number or money arithmetic left 64 bits."""

FAMILY = 32

# Words: comparisons of 64-bit words and logic; _K compares with the constant in the instruction.
COPY = 0
AT_MOST_K = 1
AT_LEAST_K = 2
EQUAL_K = 3
NOT_EQUAL_K = 4
LESS = 5
AT_MOST = 6
EQUAL = 7
NOT_EQUAL = 8
AND = 9
OR = 10
NOT = 11
IS_NULL = 12
IS_NAN = 13
SELECT = 14
COALESCE = 15
COALESCE_F = 16
IN = 17
IN_F = 18

# Numbers: float64, NaN is NULL.
LESS_FK = 32
AT_MOST_FK = 33
MORE_FK = 34
AT_LEAST_FK = 35
EQUAL_FK = 36
NOT_EQUAL_FK = 37
LESS_F = 38
AT_MOST_F = 39
EQUAL_F = 40
NOT_EQUAL_F = 41
ADD_F = 42
SUBTRACT_F = 43
MULTIPLY_F = 44
DIVIDE_F = 45
MODULO_F = 46
NEGATE_F = 47
ABS_F = 48
ROUND_F = 49
FLOOR_F = 50
CEIL_F = 51
LN = 52
SQRT = 53
POWER = 54
LEAST_F = 55
GREATEST_F = 56
TO_NUMBER = 57
DISTANCE_KM = 58

# Whole numbers: overflow is NULL and flagged.
ADD = 64
SUBTRACT = 65
MULTIPLY = 66
DIVIDE = 67
MODULO = 68
NEGATE = 69
ABS = 70
ROUND_TO = 71
FLOOR_TO = 72
CEIL_TO = 73
LEAST = 74
GREATEST = 75

# What looks things up in the pool.
MEMO = 96
HOUR = 97
DAY_OF_WEEK = 98
DATE_DIFF = 99
IN_LIST = 100
LOOKUP = 101
