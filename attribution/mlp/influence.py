"""Who pulled the network towards this answer: projected gradients in the metric of the inverse Fisher matrix.

    form      s_c(i, q) = g_c(i)ᵀ·M_c·g_c(q),  g_c the quantised gradient of the log-odds margin at checkpoint c
    relative  r_i = 1000·s(i, q) / isqrt(s(i, i)·s(q, q)) toward zero, 0 where that root is 0,  s the sum of all s_c
    raw       mean over c of w_c(i)·s_c(i, q),  w_c(i) = isqrt(1 - p_y), winsorised at the records' 90th percentile

The margin of a record is that of its label, of a question that of the answer. Payment is on relative influence. It is
the cosine in the direct sum of the checkpoints' metrics, so with positive definite M_c the Cauchy-Schwarz inequality
makes |r_i| ≤ 1000 exact, and at a fixed model it depends on no other record but the 256 that fix the encoder. Raw
influence is the evidence; it is not paid on: its weights grow with the doubt about a record, and a wrong label is
doubted most.

Bounds: entries of g are at most 127 and row sums of M at most 28·2**30, so entries of M·g are below 2**41.8, a form of
one checkpoint and each of its partial sums below 2**58.4, and the sum over 10 checkpoints below 2**61.8.

Shapes: n records, m questions, t checkpoints, k unknowns of each.
Units: relative influence 1/1000; weights 2**-14; raw influence in entries of g, for H/λ in place of H.

Sources: Park et al., "TRAK", 2023, section 3, whose weight is 1 - p_y; relative influence: Barshan et al., "RelatIF",
2020, section 4.2.
"""

from collections.abc import Sequence

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, isqrt, magnitude, matmul, ratio_to_root
from attribution.head.request import MAXIMUM_INFLUENCE
from attribution.mlp.certificate import INVERSE_BITS
from attribution.mlp.network import PROBABILITY_BITS
from attribution.mlp.projection import Int8

WEIGHT_BITS = 14


def self_forms(vectors: Int8, inverse: Int64) -> Int64:
    """gᵀ·M·g of each vector at one checkpoint. Shapes: vectors (n, k), inverse (k, k) -> (n,).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when a form is negative, as no certified inverse allows.
    """
    forms: Int64 = (matmul(vectors, inverse) * vectors).sum(axis=1)
    if forms.size and int(forms.min()) < 0:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a record's form with itself is negative")
    return forms


def pull(questions: Int8, inverses: Sequence[Int64]) -> Int64:
    """M·g of each question, checkpoint by checkpoint. Shapes: questions (m, t·k), t inverses (k, k) -> (t·k, m)."""
    parts = np.split(questions, len(inverses), axis=1)
    return np.vstack([matmul(inverse, part.T) for part, inverse in zip(parts, inverses, strict=True)])


def relative_influence(forms: Int64, record_forms: Int64, question_forms: Int64) -> Int64:
    """Relative influence of each record on each question. Shapes: (n, m), (n,), (m,) -> (n, m).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when one is above 1000, as no certified inverse allows.
    """
    relative = ratio_to_root(forms, record_forms[:, None], question_forms[None, :], MAXIMUM_INFLUENCE)
    if magnitude(relative) > MAXIMUM_INFLUENCE:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a relative influence is above 1000")
    return relative


def record_weights(chances: Int64, labels: Int64) -> Int64:
    """isqrt(1 - p_y), at most the ceil(9n/10)-th smallest of all records'. Shapes: (n, C), (n,) -> (n,)."""
    doubt = (1 << PROBABILITY_BITS) - chances[np.arange(len(labels)), labels]
    roots = isqrt(np.maximum(doubt, 0))
    cap = np.sort(roots)[-(-9 * len(roots) // 10) - 1]
    capped: Int64 = np.minimum(roots, cap)
    return capped


def raw_influence(forms: Int64, weights: Int64) -> list[int]:
    """Mean over the checkpoints of weight times form, floored, in plain integers. Shapes: (t, n) both -> n values."""
    divisor = len(forms) << (WEIGHT_BITS + INVERSE_BITS)
    columns = zip(forms.T.tolist(), weights.T.tolist(), strict=True)
    return [sum(form * weight for form, weight in zip(*pair, strict=True)) // divisor for pair in columns]
