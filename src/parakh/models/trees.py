"""Scores LightGBM forests in Numba: the same bits as LightGBM's own prediction, a fraction of its time.

A forest is one block of 64-bit words, read as integers (`words`) and as numbers (`numbers`, the same memory):

    roots      one word a tree: where its root stands
    nodes      four words each: threshold, children, feature and kind, mean of the leaves below
    leaves     one number each
    sets       the categories that go left, 32 to a word

A child is a position of a node, or `~position` of a leaf; the left child is the upper half of the word.
A row walks all trees at once, a step a round: the trees do not wait for each other's memory, so that the processor
overlaps them (twice as fast as tree after tree). The leaves are then added in the order of the trees, as LightGBM does.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from numba import njit
from numba import types as nb
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.expressions.calling import array_type, kernel_address
from parakh.expressions.kernels import stamped
from parakh.models.lightgbm_text import CATEGORICAL, DEFAULT_LEFT, ZERO_THRESHOLD, Forest, Link, Tree
from parakh.models.shap import Paths, add_shap

__all__ = ["MOVES", "SUMS", "TreeScorer"]

Floats = NDArray[np.float64]
Words = NDArray[np.int64]

_FLOATS = array_type(nb.float64)
SUMS = (
    array_type(nb.int64), _FLOATS, nb.int64, nb.float64, nb.int64, nb.float64, array_type(nb.float64, 2), _FLOATS,
)  # fmt: skip
"""What `forest_sums` takes."""
MOVES = array_type(nb.int64), _FLOATS, nb.int64, nb.float64, array_type(nb.float64, 2), array_type(nb.float64, 2)
"""What `forest_moves` takes."""

_NODE = 4  # words of a node
_KIND_ZERO = 2  # bits of the word that holds the feature; bit 0: NaN goes left
_KIND_SET = 4
_KIND_SPECIAL = _KIND_ZERO | _KIND_SET
_FEATURE_SHIFT = 8
_LEFT_SHIFT = 32
_BELOW_ZERO = math.nextafter(-ZERO_THRESHOLD, -math.inf)

_SIGMOID = int(Link.SIGMOID)
_EXP = int(Link.EXP)
_LOG1P_EXP = int(Link.LOG1P_EXP)
_SIGNED_SQUARE = int(Link.SIGNED_SQUARE)


class TreeScorer:
    """Scores rows by a LightGBM forest.

    `x` is float64[rows, n_inputs], C-contiguous, NaN for NULL; every method returns a new array. Safe to call from
    several threads.
    """

    kind = "lightgbm"

    def __init__(self, forest: Forest, digest: str) -> None:
        self.n_inputs = len(forest.feature_names)
        self.digest = digest
        self._forest = forest
        self._words = _pack(forest)
        self._numbers = self._words.view(np.float64)
        self._trees = len(forest.trees)
        self._divisor = float(len(forest.trees)) if forest.average else 1.0

    def score(self, x: Floats) -> Floats:
        """float64[rows]: the model's prediction; NaN where it is not finite."""
        return self._sum(x, int(self._forest.link))

    @property
    def express(self) -> tuple[int, int, Words, int, float, int, float]:
        """What a kernel scores and explains by without Python: the addresses of `forest_sums` and `forest_moves`, then
        words, trees and divisor for both, link and steepness for the first. `numbers` are the bits of `words`.
        """
        sums, moves = kernel_address(forest_sums, SUMS, nb.none), kernel_address(forest_moves, MOVES, nb.none)
        return sums, moves, self._words, self._trees, self._divisor, int(self._forest.link), self._forest.steepness

    def raw(self, x: Floats) -> Floats:
        """float64[rows]: the sum of the leaves (their mean, for a random forest), before the link."""
        return self._sum(x, int(Link.IDENTITY))

    def _sum(self, x: Floats, link: int) -> Floats:
        x = self._checked(x)
        out = np.empty(len(x))
        forest_sums(self._words, self._numbers, self._trees, self._divisor, link, self._forest.steepness, x, out)
        return out

    def contributions(self, x: Floats) -> Floats:
        """float64[rows, n_inputs + 1]: what each input moved the raw score by; the last column is the base.

        Each step of a row's path moves the mean of the leaves below; the move is the split feature's contribution
        (Saabas 2014). A row sums to the raw score. Cheap, and good for reasons; `shap` is fair between features that
        share a path.
        """
        x = self._checked(x)
        out = np.empty((len(x), self.n_inputs + 1))
        forest_moves(self._words, self._numbers, self._trees, self._divisor, x, out)
        return out

    def shap(self, x: Floats) -> Floats:
        """float64[rows, n_inputs + 1]: exact Shapley values given the trees' paths, as LightGBM's `pred_contrib`.

        The last column is the base; a row sums to the raw score. Raises ModelError for trees too deep to do it exactly.
        """
        x = self._checked(x)
        out = np.zeros((len(x), self.n_inputs + 1))
        paths, feature = self._paths, self._feature
        went_left = np.empty(len(feature), np.uint8)
        for row in range(len(x)):
            _directions(self._words, self._numbers, self._trees, x[row], went_left)
            add_shap(paths, feature, went_left, out[row])
        out[:, -1] = paths.base
        return out / self._divisor

    @cached_property
    def _paths(self) -> Paths:
        return Paths.of(self._forest)

    @cached_property
    def _feature(self) -> Words:
        first = self._trees
        stop = first + _NODE * sum(len(tree.feature) for tree in self._forest.trees)
        return np.ascontiguousarray(self._words[first + 2 : stop : _NODE] >> _FEATURE_SHIFT)

    def _checked(self, x: Floats) -> Floats:
        """The kernels trust what they are given; a read-only array would be one more type to compile them for."""
        flags = x.flags
        if x.ndim != 2 or x.shape[1] != self.n_inputs or x.dtype != np.float64 or not flags.c_contiguous:
            raise ValueError(f"x must be a C-contiguous float64[rows, {self.n_inputs}]")
        return x if flags.writeable else x.copy()


def _pack(forest: Forest) -> Words:
    """The forest as one block of words."""
    trees = forest.trees
    nodes = sum(len(tree.feature) for tree in trees)
    leaves = sum(len(tree.leaf_value) for tree in trees)
    first_leaf = len(trees) + _NODE * nodes
    first_set = first_leaf + leaves
    words = np.zeros(first_set + sum(len(tree.category_words) for tree in trees), np.int64)
    if len(words) >= 2**31:
        raise ModelError("the model has too many nodes to be scored")
    numbers = words.view(np.float64)
    node, leaf, sets = len(trees), first_leaf, first_set
    for index, tree in enumerate(trees):
        words[index] = node if len(tree.feature) else ~leaf
        if len(tree.feature):
            stop = node + _NODE * len(tree.feature)
            _pack_nodes(tree, words[node:stop].reshape(-1, _NODE), node, leaf, sets)
            node = stop
        numbers[leaf : leaf + len(tree.leaf_value)] = tree.leaf_value
        leaf += len(tree.leaf_value)
        words[sets : sets + len(tree.category_words)] = tree.category_words
        sets += len(tree.category_words)
    return words


def _pack_nodes(tree: Tree, block: Words, first_node: int, first_leaf: int, first_set: int) -> None:
    decision = np.asarray(tree.decision, np.int64)
    threshold = np.asarray(tree.threshold, np.float64)
    categorical = (decision & CATEGORICAL) != 0
    missing = np.where(categorical, 0, (decision >> 2) & 3)  # 0 nothing, 1 zero, 2 NaN
    # What is not known goes the default way, or where 0 goes; and right at a categorical node.
    nan_left = np.where(missing == 0, threshold >= 0, (decision & DEFAULT_LEFT) != 0) & ~categorical
    # LightGBM takes values within the zero threshold as 0 before it looks: move such thresholds to the same effect.
    moved = np.where((threshold >= 0) & (threshold < ZERO_THRESHOLD), ZERO_THRESHOLD, threshold)
    moved = np.where((moved < 0) & (moved >= -ZERO_THRESHOLD), _BELOW_ZERO, moved)
    block[:, 0] = moved.view(np.int64)
    for node in np.flatnonzero(categorical):
        start, stop = tree.category_bounds[int(threshold[node])], tree.category_bounds[int(threshold[node]) + 1]
        block[node, 0] = (first_set + start) << 32 | (stop - start)
    children = []
    for side in (tree.left, tree.right):
        child = np.asarray(side, np.int64)
        children.append(np.where(child >= 0, first_node + _NODE * child, ~(first_leaf + ~child)))
    block[:, 1] = (children[0] << _LEFT_SHIFT) | (children[1] & 0xFFFFFFFF)
    kind = np.where(categorical, _KIND_SET, np.where(missing == 1, _KIND_ZERO, 0))
    block[:, 2] = (np.asarray(tree.feature, np.int64) << _FEATURE_SHIFT) | kind | nan_left
    block[:, 3] = np.asarray(tree.means(), np.float64).view(np.int64)


@stamped
@njit(cache=True, nogil=True)
def forest_sums(
    words: Words, numbers: Floats, trees: int, divisor: float, link: int, steepness: float, x: Floats, out: Floats
) -> None:
    walking = np.empty(trees, np.int64)  # the trees that have not come to a leaf
    at = np.empty(trees, np.int64)
    for row in range(x.shape[0]):
        left_over = _roots(words, trees, walking, at)
        while left_over > 0:
            kept = 0
            for i in range(left_over):
                walker = np.uint64(walking[i])  # unsigned: Numba leaves out the code for negative indexes
                node = np.uint64(at[walker])
                facts = words[node + np.uint64(2)]
                value = x[np.uint64(row), np.uint64(facts >> _FEATURE_SHIFT)]
                left = (value <= numbers[node]) | ((not value > numbers[node]) & (facts & 1))
                if facts & _KIND_SPECIAL:
                    left = _goes_left(words, numbers, node, value)
                child = np.int64(np.int32(words[node + np.uint64(1)] >> (_LEFT_SHIFT * left)))
                at[walker] = child
                walking[kept] = np.int64(walker)
                kept += int(child >= 0)
            left_over = kept
        total = 0.0
        for tree in range(trees):
            total += numbers[np.uint64(~at[tree])]
        out[row] = _linked(total / divisor, link, steepness)


@stamped
@njit(cache=True, nogil=True)
def forest_moves(words: Words, numbers: Floats, trees: int, divisor: float, x: Floats, out: Floats) -> None:
    walking = np.empty(trees, np.int64)
    at = np.empty(trees, np.int64)
    moves = np.empty(out.shape[1], np.float64)
    for row in range(x.shape[0]):
        moves[:] = 0.0
        left_over = _roots(words, trees, walking, at)
        for tree in range(trees):
            moves[-1] += numbers[at[tree] + 3 if at[tree] >= 0 else ~at[tree]]
        while left_over > 0:
            kept = 0
            for i in range(left_over):
                walker = np.uint64(walking[i])
                node = np.uint64(at[walker])
                facts = words[node + np.uint64(2)]
                feature = np.uint64(facts >> _FEATURE_SHIFT)
                value = x[np.uint64(row), feature]
                left = (value <= numbers[node]) | ((not value > numbers[node]) & (facts & 1))
                if facts & _KIND_SPECIAL:
                    left = _goes_left(words, numbers, node, value)
                child = np.int64(np.int32(words[node + np.uint64(1)] >> (_LEFT_SHIFT * left)))
                mean = numbers[np.uint64(child + 3 if child >= 0 else ~child)]
                moves[feature] += mean - numbers[node + np.uint64(3)]
                at[walker] = child
                walking[kept] = np.int64(walker)
                kept += int(child >= 0)
            left_over = kept
        for column in range(out.shape[1]):
            out[row, column] = moves[column] / divisor


@stamped
@njit(cache=True, nogil=True)
def _roots(words: Words, trees: int, walking: Words, at: Words) -> int:
    """Puts every tree at its root; the number of those that are more than a leaf."""
    count = 0
    for tree in range(trees):
        at[tree] = words[tree]
        walking[count] = tree
        count += int(words[tree] >= 0)
    return count


@stamped
@njit(cache=True, nogil=True)
def _goes_left(words: Words, numbers: Floats, place: np.uint64, value: float) -> int:
    """The decision of any kind of node: 1 or 0."""
    node = np.int64(place)
    facts = words[node + 2]
    if facts & _KIND_SET:
        if not (value > -1.0 and value < 2147483648.0):  # NaN, negative, or beyond LightGBM's int
            return 0
        category = int(value)
        start, size = words[node] >> 32, words[node] & 0xFFFFFFFF
        return int((words[start + (category >> 5)] >> (category & 31)) & 1) if category >> 5 < size else 0
    if facts & _KIND_ZERO and abs(value) <= ZERO_THRESHOLD:
        return int(facts & 1)
    return int((value <= numbers[node]) | ((not value > numbers[node]) & (facts & 1)))


@stamped
@njit(cache=True, nogil=True)
def _linked(raw: float, link: int, steepness: float) -> float:
    if link == _SIGMOID:
        score = 1.0 / (1.0 + math.exp(-steepness * raw))
    elif link == _EXP:
        score = math.exp(raw)
    elif link == _LOG1P_EXP:
        score = math.log1p(math.exp(raw))
    elif link == _SIGNED_SQUARE:
        score = math.copysign(raw * raw, raw)
    else:
        score = raw
    return score if abs(score) < math.inf else math.nan


@stamped
@njit(cache=True, nogil=True)
def _directions(words: Words, numbers: Floats, trees: int, row: Floats, went_left: NDArray[np.uint8]) -> None:
    """What every node of the forest decides about a row, whether the row reaches it or not."""
    for number in range(went_left.shape[0]):
        node = trees + _NODE * number
        went_left[number] = _goes_left(words, numbers, np.uint64(node), row[words[node + 2] >> _FEATURE_SHIFT])
