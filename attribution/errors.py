"""What can go wrong in `attribution`, and whose fault it is.

AttributionError   someone else's: bytes or a request that a stranger made; caught where they came in
KernelError        the environment's: this machine computes integers wrongly; the node must not validate
assert             ours
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Stable code of a refusal; `sentence` says it to a person."""

    sentence: str

    def __new__(cls, code: str, sentence: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    SCHEMA_MALFORMED = "schema_malformed", "The schema breaks a rule of its format."
    RECORD_WRONG_SIZE = "record_wrong_size", "The record's bytes are not of the size its schema fixes."
    QUERY_WRONG_SIZE = "query_wrong_size", "The query's bytes are not of the size its schema fixes."
    WRONG_VALUE_COUNT = "wrong_value_count", "There is not exactly one value for each column."
    LABEL_OUT_OF_RANGE = "label_out_of_range", "The label is not one of the schema's classes."
    VALUE_OUT_OF_RANGE = "value_out_of_range", "A value is outside its column's minimum and maximum."
    VALUE_NOT_A_NUMBER = "value_not_a_number", "A value is not a finite decimal number."
    ENGINE_UNKNOWN = "engine_unknown", "No engine has this name."
    DAMPING_OUT_OF_RANGE = "damping_out_of_range", "The damping is outside the range that the arithmetic is proven for."
    HASH_MALFORMED = "hash_malformed", "A content hash is not 32 bytes."
    NO_RECORDS = "no_records", "The snapshot holds no records."
    TOO_MANY_RECORDS = "too_many_records", "The snapshot holds more records than the arithmetic is proven for."
    TOO_MANY_UNKNOWNS = "too_many_unknowns", "Columns plus one, times classes, exceeds the engine's unknowns."
    NO_QUESTIONS = "no_questions", "The request asks nothing."
    TOO_MANY_QUESTIONS = "too_many_questions", "The request asks more than one request may."
    MISSING_MATERIAL = "missing_material", "Bytes that the request names by hash were not given."
    MATERIAL_MISMATCH = "material_mismatch", "Bytes do not have the hash that the request names them by."
    WEIGHTS_MALFORMED = "weights_malformed", "The weights' bytes are not of the size the problem fixes."
    WEIGHTS_OUT_OF_RANGE = "weights_out_of_range", "A weight is larger than any optimum of an admissible problem."
    INVERSE_MALFORMED = "inverse_malformed", "The inverse's bytes are not of the size the problem fixes."
    INVERSE_OUT_OF_RANGE = "inverse_out_of_range", "The inverse is larger than any inverse that could be certified."
    GRADIENT_TOO_LARGE = "gradient_too_large", "The weights are not the optimum of exactly these records."
    INVERSE_NOT_CERTIFIED = "inverse_not_certified", "The inverse is not close enough to the Hessian's inverse."
    NOT_CONVERGED = "not_converged", "Training did not reach weights or an inverse that certify."
    BOUND_EXCEEDED = "bound_exceeded", "A product of integers would not fit in 64 bits."
    THRESHOLD_OUT_OF_RANGE = "threshold_out_of_range", "A similarity threshold is outside its range."
    FEATURES_MALFORMED = "features_malformed", "The features are not of the shape or the range of this index."
    OUT_OF_ORDER = "out_of_order", "Records must be admitted in the order of their seniority."
    RECORD_UNKNOWN = "record_unknown", "No admitted record has this seniority."
    SUCCESSOR_MISMATCH = (
        "successor_mismatch",
        "The record given as a leader's successor is not the one that the rule names.",
    )
    TEXT_WITHOUT_TOKENS = "text_without_tokens", "The text holds no token."
    TEXT_TOO_LARGE = "text_too_large", "The text is larger than one text may be."
    SNAPSHOT_TOO_LARGE = "snapshot_too_large", "The texts of the snapshot are together larger than a snapshot may be."
    SNAPSHOT_MALFORMED = "snapshot_malformed", "There is not exactly one size and one owner for each record."
    OWNERS_NOT_CANONICAL = "owners_not_canonical", "The owners are not numbered in the order of their first records."
    SIZE_MISMATCH = "size_mismatch", "A text does not have the size that the request states."
    TOKENS_MISCOUNTED = "tokens_miscounted", "A text does not have the number of tokens that the request states."
    TOO_MANY_TOKENS = "too_many_tokens", "The text has more tokens than one answer may."
    INDEX_MALFORMED = "index_malformed", "The suffix array or what belongs to it is damaged or was built wrongly."
    TEXT_EMPTY = "text_empty", "The text is empty."
    TEXT_TOO_SHORT = "text_too_short", "The text is shorter than its schema asks for."
    TEXT_TOO_LONG = "text_too_long", "The text is longer than its schema allows."
    TEXT_NOT_UTF8 = "text_not_utf8", "The text is not valid UTF-8."
    ONE_CLASS_ONLY = "one_class_only", "Every record of the snapshot has the same label."
    TOO_FEW_RECORDS = "too_few_records", "The snapshot holds fewer records than there are classes."
    NOTHING_VARIES = "nothing_varies", "No feature of the snapshot's records tells them apart."
    DEVICE_UNAVAILABLE = "device_unavailable", "Torch cannot compute in 64-bit floats on this device."
    WIDTHS_OUT_OF_RANGE = "widths_out_of_range", "The hidden layers are not of an admissible number and width."
    CHECKPOINTS_OUT_OF_RANGE = "checkpoints_out_of_range", "The model has no checkpoint, or more than it may have."
    SCALE_OUT_OF_RANGE = "scale_out_of_range", "A checkpoint's scale is not an admissible number of bits."
    SCALE_NOT_CERTIFIED = "scale_not_certified", "A checkpoint's scale is not the one that its records fix."
    PARAMETER_OUT_OF_RANGE = "parameter_out_of_range", "A weight of a network is too large for its fixed point."
    ACTIVATION_OUT_OF_RANGE = "activation_out_of_range", "With these weights a sum of a layer could leave its bound."
    PATH_NOT_PROVEN = "path_not_proven", "The named way to multiply is not proven exact for these operands."
    EMBEDDINGS_MALFORMED = "embeddings_malformed", "The embeddings' bytes are not of the size the index fixes."
    ARTIFACT_MALFORMED = "artifact_malformed", "The file of the model is damaged, or was not written by this program."
    ARTIFACT_VERSION_UNKNOWN = (
        "artifact_version_unknown",
        "The file of the model is of a version that is not known here.",
    )


class AttributionError(Exception):
    """Material or a request is refused; `reason` is stable, `detail` names the offending part."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {reason.sentence}" + (f" ({detail})" if detail else ""))
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["AttributionError"], tuple[Reason, str]]:
        """Survive a worker process: rebuild from the two arguments, not from the message."""
        return AttributionError, (self.reason, self.detail)


class KernelError(Exception):
    """This machine's arithmetic differs from the reference: it must not take part in consensus."""
