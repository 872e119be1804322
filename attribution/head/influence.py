"""Who pulled the model towards this answer: influence in the metric of the inverse Hessian.

    raw       s_i = g(q)ᵀ·H⁻¹·g(z_i),  g the gradient of the loss of one labelled point at the model's weights
    relative  r_i = 1000·s_i / isqrt(a·b) toward zero,  a and b the same form of record and question with themselves

Removing record i raises the loss of the question by about s_i / n. Raw influence is the evidence; payment is on
relative influence, because raw influence rewards being an outlier. Only the direction of a gradient matters to r_i, so
it is computed on x̂ ⊗ r: the residual is divided by 1 - p_y, which gives -1 at the label y and the softmax over the
other classes elsewhere (two classes: ∓1), and the features are scaled to length 2**13. The direction *is* that product
of two integer vectors: s, a and b are computed from it and nothing is shifted in between, so with a positive definite M
the Cauchy-Schwarz inequality makes |r_i| ≤ 1000 exact. `forms` has the arithmetic and its bounds.

Shapes: n records, m questions, d features, C classes.
Units: x̂ 2**-13, class residuals 2**-11, forms 2**-78/λ, relative influence 1/1000, raw influence 2**-40.

Sources: Koh and Liang, "Understanding black-box predictions via influence functions", 2017, equation 2; relative
influence: Barshan et al., "RelatIF", 2020, section 4.2, here as the cosine in the metric of the inverse Hessian.
"""

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, divide_half_up, isqrt, magnitude, matmul
from attribution.head.certificate import INVERSE_BITS
from attribution.head.encoder import FEATURE_BITS, Int16
from attribution.head.forms import RESIDUAL_BITS, UNIT_BITS
from attribution.head.request import DAMPING_BITS, MAXIMUM_INFLUENCE
from attribution.head.softmax import PROBABILITY_BITS, exponentials
from attribution.head.wide import Wide, ratio_to_root

MINIMUM_HOLDOUT_PER_CLASS = 30
RAW_BITS = 40

_OUT_OF_THE_WAY = -(1 << 62)


def class_residuals(scores: Int64, labels: Int64) -> Int16:
    """(p - e_y) / (1 - p_y): -2**11 at the label, 2**11·softmax over the other classes elsewhere.

    Shapes: scores (n, C), labels (n,) -> (n, C).
    """
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = _OUT_OF_THE_WAY
    parts = exponentials(scores, others.max(axis=1, keepdims=True))
    parts[rows, labels] = 0
    shares = divide_half_up(parts << RESIDUAL_BITS, parts.sum(axis=1, keepdims=True))
    shares[rows, labels] = -(1 << RESIDUAL_BITS)
    return shares.astype(np.int16)


def unit_rows(features: Int16) -> Int16:
    """x̂: features at length 2**13, no entry above it because `lengths` is at least the largest.

    Rounding moves each entry by half a unit and the root's floor is one in 2**12: ‖x̂‖ ≤ 2**13 + 18 up to 1,024 of them.

    Shapes: (n, d) -> (n, d).
    """
    wide = features.astype(np.int64) << UNIT_BITS
    return divide_half_up(wide, lengths(features)[:, None]).astype(np.int16)


def lengths(features: Int16) -> Int64:
    """‖x‖, at least 2**12 because of the bias. Shapes: (n, d) -> (n,). Units: 2**-12."""
    squares = features.astype(np.int64) ** 2
    return isqrt(squares.sum(axis=1))  # ≤ 2**10 · 2**30


def relative_influence(forms: Wide, record_forms: Wide, question_forms: Wide) -> Int16:
    """Relative influence of each record on each question. Shapes: (n, m), (n,), (m,) -> (n, m).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when one is above 1000, as no certified inverse allows.
    """
    relative = ratio_to_root(forms, record_forms[:, None], question_forms[None, :], MAXIMUM_INFLUENCE)
    if magnitude(relative) > MAXIMUM_INFLUENCE:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a relative influence is above 1000")
    return relative.astype(np.int16)


def strengths(features: Int16, chances: Int64, labels: Int64) -> Int64:
    """Length of each gradient over that of x/‖x‖ ⊗ r: (1 - p_y)·‖x‖.

    Shapes: features (n, d), chances (n, C), labels (n,) -> (n,). Units: 2**-40.
    """
    doubt = (1 << PROBABILITY_BITS) - chances[np.arange(len(labels)), labels]
    return doubt * lengths(features)


def raw_influence(forms: Wide, record_strengths: Int64, question_strength: int, damping: int) -> list[int]:
    """Raw influence of each record on one question, floored, in plain integers. Shapes: (n,), (n,) -> n values."""
    direction_bits, strength_bits = UNIT_BITS + RESIDUAL_BITS, FEATURE_BITS + PROBABILITY_BITS
    # A form is 2**78·λ times that of the exact x/‖x‖ ⊗ r in H⁻¹, and λ = damping / 2**20.
    bits = 2 * direction_bits + INVERSE_BITS + 2 * strength_bits - DAMPING_BITS - RAW_BITS
    pairs = zip(forms.tolist(), record_strengths.tolist(), strict=True)
    return [form * strength * question_strength // (damping << bits) for form, strength in pairs]


def class_sums(relative: Int16, labels: Int64, classes: int) -> Int64:
    """Relative influence summed over the questions of each class. Shapes: (n, m), (m,) -> (n, C)."""
    return matmul(relative, (labels[:, None] == np.arange(classes)).astype(np.int64))


def holdout_scores(sums: Int64, class_counts: Int64) -> Int64:
    """Quality of each record: floor(sum / count) summed over the classes that occur. Shapes: (n, C), (C,) -> (n,)."""
    scores: Int64 = (sums // np.maximum(class_counts, 1)).sum(axis=1)
    return scores


def is_gate_on(class_counts: Int64) -> bool:
    """Whether every class has enough holdout points for the scores to mean something."""
    return bool((class_counts >= MINIMUM_HOLDOUT_PER_CLASS).all())
