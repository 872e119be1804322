"""A trainer that owes nothing to `attribution.head.fit`: Newton's method in numpy. Whatever certifies is valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attribution.head.attribute import read_problem
from attribution.head.certificate import INVERSE_BITS, certify, encode_inverse, encode_weights, gradient_norm
from attribution.head.request import DAMPING_BITS, EPSILON, Certificate, Problem
from attribution.head.softmax import (
    GRADIENT_BITS,
    HESSIAN_BITS,
    WEIGHT_BITS,
    gradient,
    hessian,
    logits,
    probabilities,
    residuals,
)

STEPS = 30


@dataclass(frozen=True)
class Trained:
    """What a model's owner posts."""

    weights: bytes
    inverse: bytes
    certificate: Certificate


def train(problem: Problem, materials: Mapping[bytes, bytes]) -> Trained:
    """Weights and inverse that certify."""
    features, labels, _ = read_problem(problem, materials)
    weights = np.zeros((problem.schema.classes, features.shape[1]), dtype=np.int64)
    for _ in range(STEPS):
        chances = probabilities(logits(features, weights))
        total = gradient(features, residuals(chances, labels), weights, problem.damping)
        if gradient_norm(total, len(labels)) <= EPSILON // 16:
            break
        curvature = hessian(features, chances, problem.damping) / 2.0**HESSIAN_BITS
        slope = np.array([value / (len(labels) << GRADIENT_BITS) for value in total])
        step = np.linalg.solve(curvature, slope).reshape(weights.shape)
        weights = weights - np.rint(step * 2.0**WEIGHT_BITS).astype(np.int64)
    curvature = hessian(features, probabilities(logits(features, weights)), problem.damping) / 2.0**HESSIAN_BITS
    inverse = np.linalg.inv(curvature)
    scaled = (inverse + inverse.T) / 2 * (problem.damping / 2.0**DAMPING_BITS) * 2.0**INVERSE_BITS
    posted = np.rint(scaled).astype(np.int64)
    certificate = certify(problem, features, labels, weights, posted)
    return Trained(encode_weights(weights), encode_inverse(posted), certificate)
