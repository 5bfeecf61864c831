"""Reads LightGBM's text model format, strictly: what comes out is a forest that every later step may trust.

The format is that of `Booster.save_model` (versions v3 and v4): `key=value` lines for the model, then a block for each
tree. A file is data from outside: counts, indexes and shapes are checked here, in time and memory linear in its size,
so that the kernels of `parakh.models.trees` need no checks. Nothing heavy is imported: `parakh check` reads models too.
"""

from __future__ import annotations

import enum
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from parakh.errors import ModelError

__all__ = ["CATEGORICAL", "DEFAULT_LEFT", "MAXIMUM_BYTES", "ZERO_THRESHOLD", "Forest", "Link", "Tree", "parse_forest"]

MAXIMUM_BYTES = 64 * 2**20
"""A larger model would not answer within milliseconds, and node positions must fit 31 bits."""

ZERO_THRESHOLD = 1.0000000180025095e-35  # LightGBM's kZeroThreshold, a float32: what is no larger counts as zero
CATEGORICAL = 1  # bit of decision_type
DEFAULT_LEFT = 2  # bit of decision_type; bits 2 and 3 say what counts as missing: 0 nothing, 1 zero, 2 NaN

_Number = TypeVar("_Number", int, float)
_RETRAIN = "train it as binary, cross_entropy or regression, and save it with Booster.save_model"


class Link(enum.IntEnum):
    """How the sum of the leaves becomes the score."""

    IDENTITY = 0
    SIGMOID = 1
    EXP = 2
    LOG1P_EXP = 3
    SIGNED_SQUARE = 4


_LINKS = {
    "binary": Link.SIGMOID,
    "cross_entropy": Link.SIGMOID,
    "cross_entropy_lambda": Link.LOG1P_EXP,
    "poisson": Link.EXP,
    "gamma": Link.EXP,
    "tweedie": Link.EXP,
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), Link.IDENTITY),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), Link.IDENTITY),
}


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree: a child >= 0 is a node, a child < 0 is the leaf `~child`; node 0 is the root. A lone leaf has no nodes.

    The threshold of a categorical node is the index of its set: words `category_bounds[i]` to `category_bounds[i + 1]`
    of `category_words`, 32 categories a word, the lowest bit first.
    """

    feature: array[int]
    threshold: array[float]
    decision: array[int]
    left: array[int]
    right: array[int]
    leaf_value: array[float]
    leaf_count: array[int]  # rows of the training set that reached the leaf
    category_bounds: array[int]
    category_words: array[int]

    def top_down(self) -> list[int]:
        """The nodes, each before its children."""
        order = [0] if self.feature else []
        for node in order:  # grows as it goes
            order.extend(child for child in (self.left[node], self.right[node]) if child >= 0)
        return order

    def node_counts(self) -> array[int]:
        """Rows of the training set that reached each node."""
        counts = array("q", bytes(8 * len(self.feature)))
        for node in reversed(self.top_down()):
            for child in (self.left[node], self.right[node]):
                counts[node] += counts[child] if child >= 0 else self.leaf_count[~child]
        return counts

    def means(self) -> array[float]:
        """The mean leaf below each node over the training set; the mean of both sides where no row came."""
        means = array("d", bytes(8 * len(self.feature)))
        counts = self.node_counts()
        for node in reversed(self.top_down()):
            for child in (self.left[node], self.right[node]):
                count, mean = (
                    (counts[child], means[child]) if child >= 0 else (self.leaf_count[~child], self.leaf_value[~child])
                )
                means[node] += mean * (count / counts[node] if counts[node] else 0.5)
        return means


@dataclass(frozen=True, slots=True)
class Forest:
    """A parsed model: `score = link(sum of leaves)`, the sum divided by the number of trees where `average` is set."""

    feature_names: tuple[str, ...]
    trees: tuple[Tree, ...]
    link: Link
    steepness: float  # of the sigmoid
    average: bool


def parse_forest(content: bytes) -> Forest:
    """Parses a model file; raises ModelError, which says what is wrong and what to do, on all that is not sound."""
    if len(content) > MAXIMUM_BYTES:
        raise ModelError(f"the model has {len(content):,} bytes, more than the {MAXIMUM_BYTES:,} that can be scored")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"not a LightGBM text model: byte {error.start} is not UTF-8 text") from None
    lines = [line.strip() for line in text.split("\n")]
    starts = [number for number, line in enumerate(lines) if line.startswith("Tree=")]
    end = next((number for number, line in enumerate(lines) if line == "end of trees"), None)
    header = _header(lines[: starts[0] if starts else end])
    names, link, steepness = _facts(header)
    if end is None or (starts and starts[-1] > end):
        raise ModelError("the model file is cut off: there is no line «end of trees» after its trees")
    promised = len(header.get("tree_sizes", "").split())
    if "tree_sizes" in header and promised != len(starts):
        raise ModelError(f"the model promises {promised} trees (tree_sizes) and has {len(starts)}")
    if not starts:
        raise ModelError("the model has no trees: train it for at least one round")
    _refuse_pandas_categories(lines[end:])
    trees = []
    for index, (start, stop) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        if lines[start] != f"Tree={index}":
            raise ModelError(f"line {start + 1}: expected «Tree={index}», found «{lines[start][:40]}»")
        try:
            trees.append(_tree(lines[start + 1 : stop], len(names)))
        except ModelError as error:
            raise ModelError(f"tree {index} (line {start + 1}): {error}") from None
    return Forest(names, tuple(trees), link, steepness, "average_output" in header)


def _header(lines: list[str]) -> dict[str, str]:
    if not lines or lines[0] != "tree":
        raise ModelError("not a LightGBM text model: its first line is not «tree»")
    return _pairs(lines[1:])


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in lines:
        if line:
            key, _, value = line.partition("=")
            if key in pairs:
                raise ModelError(f"«{key[:40]}» is given twice")
            pairs[key] = value
    return pairs


def _facts(header: dict[str, str]) -> tuple[tuple[str, ...], Link, float]:
    version = header.get("version", "")
    if version not in ("v3", "v4"):
        raise ModelError(f"format version {version[:20]!r} is not read (v3 and v4 are): save it with LightGBM 3 or 4")
    for key in ("num_class", "num_tree_per_iteration"):
        if header.get(key, "1") != "1":
            raise ModelError(f"a model of several classes ({key}={header[key][:20]}) gives no single score: {_RETRAIN}")
    names = tuple(header.get("feature_names", "").split())
    if header.get("max_feature_idx") != str(len(names) - 1) or not names:
        counted = header.get("max_feature_idx", "nothing")[:20]
        raise ModelError(f"max_feature_idx is {counted}, but feature_names has {len(names)} names")
    words = header.get("objective", "custom").split() or ["custom"]
    link = Link.IDENTITY if words[0] == "custom" else _LINKS.get(words[0])
    if link is None:
        raise ModelError(f"objective {words[0][:40]!r} is not run: {_RETRAIN}")
    steepness = 1.0
    for word in words[1:]:
        if words[0] == "binary" and word.startswith("sigmoid:"):
            steepness = _floats("sigmoid", word[8:])[0]
            if steepness <= 0:
                raise ModelError(f"the sigmoid's steepness must be above 0, not {steepness}")
        elif words[0] == "regression" and word == "sqrt":
            link = Link.SIGNED_SQUARE
        elif ":" not in word:  # other objectives' own settings act in training only
            raise ModelError(f"objective «{' '.join(words)[:60]}» is not run: {_RETRAIN}")
    return names, link, steepness


def _refuse_pandas_categories(lines: list[str]) -> None:
    for line in lines:
        key, _, value = line.partition(":")
        if key == "pandas_categorical" and value.strip() not in ("", "null", "[]"):
            raise ModelError(
                "the model was trained on pandas categories, whose codes only pandas knows: "
                "train it on integer codes, with categorical_feature=[...]"
            )


def _tree(lines: list[str], features: int) -> Tree:
    fields = _pairs(lines)
    if fields.get("is_linear", "0") != "0":
        raise ModelError("linear trees are not run: train with linear_tree=false")
    leaves = _count("num_leaves", fields, at_least=1)
    sets = _count("num_cat", fields, at_least=0)
    nodes = leaves - 1
    leaf_value = _floats("leaf_value", fields.get("leaf_value", ""), leaves)
    if nodes == 0:
        none = array("q")
        return Tree(none, array("d"), none, none, none, leaf_value, array("q", [0]), none, none)
    tree = Tree(
        feature=_integers("split_feature", fields, nodes, 0, features - 1),
        threshold=_floats("threshold", fields.get("threshold", ""), nodes, infinite=True),  # parts known from NaN
        decision=_integers("decision_type", fields, nodes, 0, 11),
        left=_integers("left_child", fields, nodes, -leaves, nodes - 1),
        right=_integers("right_child", fields, nodes, -leaves, nodes - 1),
        leaf_value=leaf_value,
        leaf_count=_integers("leaf_count", fields, leaves, 0, 2**31 - 1),
        category_bounds=_integers("cat_boundaries", fields, sets + 1, 0, MAXIMUM_BYTES) if sets else array("q"),
        category_words=_integers("cat_threshold", fields, None, 0, 2**32 - 1) if sets else array("q"),
    )
    _check_shape(tree)
    _check_decisions(tree, sets)
    return tree


def _check_shape(tree: Tree) -> None:
    """Every node but the root, and every leaf, is the child of exactly one node that the root reaches."""
    seen = bytearray(len(tree.left))
    seen_leaves = bytearray(len(tree.leaf_value))
    waiting = [0]
    seen[0] = 1
    while waiting:
        node = waiting.pop()
        for child in (tree.left[node], tree.right[node]):
            marks, place = (seen, child) if child >= 0 else (seen_leaves, ~child)
            if marks[place]:
                kind = "node" if child >= 0 else "leaf"
                raise ModelError(f"{kind} {place} has two parents, so the nodes are no tree")
            marks[place] = 1
            if child >= 0:
                waiting.append(child)
    if not (all(seen) and all(seen_leaves)):
        raise ModelError("some nodes or leaves cannot be reached from the root")


def _check_decisions(tree: Tree, sets: int) -> None:
    bounds = tree.category_bounds
    if sets and (bounds[0] != 0 or bounds[-1] != len(tree.category_words) or any(a >= b for a, b in pairwise(bounds))):
        raise ModelError("cat_boundaries do not divide cat_threshold")
    for node, (decision, threshold) in enumerate(zip(tree.decision, tree.threshold, strict=True)):
        if decision & CATEGORICAL and not (threshold.is_integer() and 0 <= threshold < sets):
            raise ModelError(f"node {node} names category set {threshold}, and there are {sets}")


def _count(key: str, fields: dict[str, str], *, at_least: int) -> int:
    text = fields.get(key, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= at_least):
        raise ModelError(f"{key} must be a whole number of at least {at_least}, not {text[:20]!r}")
    return int(text)


def _integers(key: str, fields: dict[str, str], count: int | None, least: int, most: int) -> array[int]:
    numbers = _numbers(key, fields.get(key, ""), count, "q", int)
    for number in numbers:
        if not least <= number <= most:
            raise ModelError(f"{key} has {number}, which is not between {least} and {most}")
    return numbers


def _floats(key: str, text: str, count: int | None = 1, *, infinite: bool = False) -> array[float]:
    numbers = _numbers(key, text, count, "d", float)
    for number in numbers:
        if math.isnan(number) or (math.isinf(number) and not infinite):
            raise ModelError(f"{key} has {number}, which is not a finite number")
    return numbers


def _numbers(key: str, text: str, count: int | None, code: str, read: Callable[[str], _Number]) -> array[_Number]:
    words = text.split()
    if count is not None and len(words) != count:
        raise ModelError(f"{key} must have {count} numbers and has {len(words)}")
    if "_" in text or not text.isascii():  # Python would read 1_0 and digits of other scripts
        raise ModelError(f"{key} has something that is not a number")
    try:
        return array(code, map(read, words))
    except (ValueError, OverflowError):
        raise ModelError(f"{key} has something that is not a number of its range") from None
