"""Exact Shapley values of a forest along its paths: what `parakh explain` shows for a model.

A row's Shapley value is a sum over leaves. On the path to a leaf each feature i has a share z[i] (of the training rows
that pass its splits) and a flag o[i] (1 where this row passes them); the weighted sum over all subsets of the other
features is

    integral over t in [0, 1] of the product over j != i of (t o[j] + (1 - t) z[j])

(Owen's multilinear extension), a polynomial that Gauss-Legendre quadrature integrates exactly. All terms are positive,
so no digits are lost, unlike with the subtractions of TreeSHAP (Lundberg 2018), whose values these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from parakh.errors import ModelError
from parakh.expressions.kernels import stamped
from parakh.models.lightgbm_text import Forest

__all__ = ["Paths", "add_shap"]

_MOST_FEATURES = 128  # on one path
_MOST_STEPS = 50_000_000  # of all paths of all leaves together

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Paths:
    """How leaves hang in their trees; nodes and leaves count through the whole forest.

    `up` and `leaf_up` are 2 x parent + side (side 0: left), -1 above a root; `share[2 x node + side]` is the share of
    the node's training rows that went there. `points` and `weights` hold the quadrature rules one after the other.
    """

    up: Integers
    leaf_up: Integers
    leaf_value: Floats
    share: Floats
    points: Floats
    weights: Floats
    base: float

    @staticmethod
    def of(forest: Forest) -> Paths:
        nodes = sum(len(tree.feature) for tree in forest.trees)
        leaves = sum(len(tree.leaf_value) for tree in forest.trees)
        up, leaf_up = np.full(nodes, -1, np.int64), np.full(leaves, -1, np.int64)
        leaf_value, share = np.empty(leaves), np.empty(2 * nodes)
        node_at = leaf_at = steps = deepest = 0
        base = 0.0
        for tree in forest.trees:
            size = len(tree.feature)
            leaf_value[leaf_at : leaf_at + len(tree.leaf_value)] = tree.leaf_value
            base += tree.means()[0] if size else tree.leaf_value[0]
            counts, depth = tree.node_counts(), np.zeros(size, np.int64)
            for node in tree.top_down():
                for side, child in enumerate((tree.left[node], tree.right[node])):
                    place = 2 * (node_at + node) + side
                    count = counts[child] if child >= 0 else tree.leaf_count[~child]
                    share[place] = count / counts[node] if counts[node] else 0.5
                    if child >= 0:
                        up[node_at + child] = place
                        depth[child] = depth[node] + 1
                    else:
                        leaf_up[leaf_at + ~child] = place
                        steps += int(depth[node]) + 1
                        deepest = max(deepest, int(depth[node]) + 1)
            node_at += size
            leaf_at += len(tree.leaf_value)
        features = min(deepest, len(forest.feature_names))
        if steps > _MOST_STEPS or features > _MOST_FEATURES:
            raise ModelError(
                f"the trees are too deep for exact Shapley values ({deepest} splits on a path): "
                "path contributions are there, or train with a smaller max_depth"
            )
        rules = [np.polynomial.legendre.leggauss(count) for count in range(1, (features + 1) // 2 + 1)]
        points = np.concatenate([np.empty(0), *((rule[0] + 1) / 2 for rule in rules)])
        weights = np.concatenate([np.empty(0), *(rule[1] / 2 for rule in rules)])
        return Paths(up, leaf_up, leaf_value, share, points, weights, float(base))


def add_shap(paths: Paths, feature: Integers, went_left: NDArray[np.uint8], out: Floats) -> None:
    """Adds one row's Shapley values to `out`, given which way every node sends the row."""
    _add_shap(
        paths.up, paths.leaf_up, paths.leaf_value, paths.share, paths.points, paths.weights, feature, went_left, out
    )


@stamped
@njit(cache=True, nogil=True)
def _add_shap(
    up: Integers,
    leaf_up: Integers,
    leaf_value: Floats,
    share: Floats,
    points: Floats,
    weights: Floats,
    feature: Integers,
    went_left: NDArray[np.uint8],
    out: Floats,
) -> None:
    found = np.full(out.shape[0], -1, np.int64)  # a feature's place on the path at hand
    names = np.empty(_MOST_FEATURES, np.int64)
    passed = np.empty(_MOST_FEATURES, np.float64)
    part = np.empty(_MOST_FEATURES, np.float64)
    factor = np.empty(_MOST_FEATURES, np.float64)
    for leaf in range(leaf_up.shape[0]):
        count = 0
        step = leaf_up[leaf]
        while step >= 0:
            node = step >> 1
            name = feature[node]
            place = found[name]
            if place < 0:
                place = count
                count += 1
                found[name] = place
                names[place] = name
                passed[place] = 1.0
                part[place] = 1.0
            part[place] *= share[step]
            if went_left[node] == step & 1:  # side 0 is left
                passed[place] = 0.0
            step = up[node]
        size = (count + 1) // 2
        for rule in range(size * (size - 1) // 2, size * (size + 1) // 2):
            t = points[rule]
            product = weights[rule] * leaf_value[leaf]
            for i in range(count):
                factor[i] = t * passed[i] + (1.0 - t) * part[i]
                product *= factor[i]
            for i in range(count):
                if factor[i] > 0.0:  # 0: a split that no training row passed, which has no weight either
                    out[names[i]] += product / factor[i] * (passed[i] - part[i])
        for i in range(count):
            found[names[i]] = -1
