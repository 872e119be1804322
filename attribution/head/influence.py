"""Who pulled the model towards this answer: influence in the metric of the inverse Hessian.

    raw       s_i = g(q)ᵀ·H⁻¹·g(z_i),  g the gradient of the loss of one labelled point at the model's weights
    relative  r_i = 1000·s_i / isqrt(a·b) toward zero,  a and b the same form of record and question with themselves

Removing record i raises the loss of the question by about s_i / n. Raw influence is the evidence; payment is on
relative influence, because raw influence rewards being an outlier. Only the direction of a gradient matters to r_i, so
it is computed on directions: the residual is divided by 1 - p_y, which gives -1 at the label y and the softmax over the
other classes elsewhere (two classes: ∓1), and the whole vector is scaled to length 2**14. Nothing is shifted between
s, a and b, so with a positive definite M the Cauchy-Schwarz inequality makes |r_i| ≤ 1000 exact.

Bounds: a direction is no longer than 2**14 + 12 (rounding moves 512 entries by half a unit each), M's row sums are at
most 24·2**30, so every form, and every partial sum of one, is below 2**63; entries of M·g are below 2**49.

Shapes: n records, m questions, u unknowns.
Units: directions 2**-14, class residuals 2**-11, forms 2**-58/λ, relative influence 1/1000, raw influence 2**-20.

Sources: Koh and Liang, "Understanding black-box predictions via influence functions", 2017, equation 2; relative
influence: Barshan et al., "RelatIF", 2020, section 4.2, here as the cosine in the metric of the inverse Hessian.
"""

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, divide_half_up, isqrt, magnitude, matmul, ratio_to_root
from attribution.head.certificate import INVERSE_BITS
from attribution.head.encoder import FEATURE_BITS, Int16
from attribution.head.request import DAMPING_BITS, MAXIMUM_INFLUENCE
from attribution.head.softmax import PROBABILITY_BITS, exponentials

DIRECTION_BITS = 14
CLASS_RESIDUAL_BITS = 11
MINIMUM_HOLDOUT_PER_CLASS = 30
RAW_BITS = 20

_OUT_OF_THE_WAY = -(1 << 62)


def class_residuals(scores: Int64, labels: Int64) -> Int64:
    """(p - e_y) / (1 - p_y): -2**11 at the label, 2**11·softmax over the other classes elsewhere.

    Shapes: scores (n, C), labels (n,) -> (n, C).
    """
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = _OUT_OF_THE_WAY
    parts = exponentials(scores, others.max(axis=1, keepdims=True))
    parts[rows, labels] = 0
    shares: Int64 = divide_half_up(parts << CLASS_RESIDUAL_BITS, parts.sum(axis=1, keepdims=True))
    shares[rows, labels] = -(1 << CLASS_RESIDUAL_BITS)
    return shares


def directions(features: Int16, shares: Int64) -> Int16:
    """Unit vectors along the gradients. Shapes: features (n, d), shares (n, C) -> (n, u)."""
    vectors = (shares[:, :, None] * features[:, None, :].astype(np.int64)).reshape(len(features), -1)  # ≤ 2**26
    scaled = divide_half_up(vectors << DIRECTION_BITS, lengths(features, shares)[:, None])
    return scaled.astype(np.int16)


def lengths(features: Int16, shares: Int64) -> Int64:
    """Length of the vectors x ⊗ r: ‖x‖·‖r‖ < 2**31, never 0. Shapes: (n, d), (n, C) -> (n,). Units: 2**-23."""
    squares = (features.astype(np.int64) ** 2).sum(axis=1) * (shares**2).sum(axis=1)  # ≤ 2**38 · 2**23
    return isqrt(squares)


def self_forms(vectors: Int16, inverse: Int64) -> Int64:
    """gᵀ·M·g of each vector. Shapes: vectors (n, u), inverse (u, u) -> (n,).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when a form is negative, as no certified inverse allows.
    """
    forms: Int64 = (matmul(vectors, inverse) * vectors).sum(axis=1)
    if forms.size and int(forms.min()) < 0:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a record's form with itself is negative")
    return forms


def cross_forms(records: Int16, questions: Int16, inverse: Int64) -> Int64:
    """g(z_i)ᵀ·M·g(q_j). Shapes: records (n, u), questions (m, u), inverse (u, u) -> (n, m)."""
    return matmul(records, matmul(inverse, questions.T))


def relative_influence(forms: Int64, record_forms: Int64, question_forms: Int64) -> Int64:
    """Relative influence of each record on each question. Shapes: (n, m), (n,), (m,) -> (n, m).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when one is above 1000, as no certified inverse allows.
    """
    relative = ratio_to_root(forms, record_forms[:, None], question_forms[None, :], MAXIMUM_INFLUENCE)
    if magnitude(relative) > MAXIMUM_INFLUENCE:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a relative influence is above 1000")
    return relative


def strengths(features: Int16, shares: Int64, chances: Int64, labels: Int64) -> Int64:
    """Length of each gradient: (1 - p_y)·‖x ⊗ r‖. Shapes: (n, d), (n, C), (n, C), (n,) -> (n,). Units: 2**-51."""
    doubt = (1 << PROBABILITY_BITS) - chances[np.arange(len(labels)), labels]
    return doubt * lengths(features, shares)


def raw_influence(forms: Int64, record_strengths: Int64, question_strength: int, damping: int) -> list[int]:
    """Raw influence of each record on one question, floored, in plain integers. Shapes: (n,), (n,) -> n values."""
    strength_bits = FEATURE_BITS + CLASS_RESIDUAL_BITS + PROBABILITY_BITS
    # A form is 2**58·λ times that of exact unit vectors in H⁻¹, and λ = damping / 2**20.
    bits = 2 * DIRECTION_BITS + INVERSE_BITS + 2 * strength_bits - DAMPING_BITS - RAW_BITS
    pairs = zip(forms.tolist(), record_strengths.tolist(), strict=True)
    return [form * strength * question_strength // (damping << bits) for form, strength in pairs]


def class_sums(relative: Int64, labels: Int64, classes: int) -> Int64:
    """Relative influence summed over the questions of each class. Shapes: (n, m), (m,) -> (n, C)."""
    return matmul(relative, (labels[:, None] == np.arange(classes)).astype(np.int64))


def holdout_scores(sums: Int64, class_counts: Int64) -> Int64:
    """Quality of each record: floor(sum / count) summed over the classes that occur. Shapes: (n, C), (C,) -> (n,)."""
    scores: Int64 = (sums // np.maximum(class_counts, 1)).sum(axis=1)
    return scores


def is_gate_on(class_counts: Int64) -> bool:
    """Whether every class has enough holdout points for the scores to mean something."""
    return bool((class_counts >= MINIMUM_HOLDOUT_PER_CLASS).all())
