"""What the ledger refers to outside itself: how often each content is used, and which were erased.

Two records of different form, or two questions, may have the same bytes: erasing one use must not take the bytes from
under another, so bytes go with their last use. Governance erases whatever the uses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.context import Context, State
from node.primitives.crypto import Hash
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.transaction import Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The ledger's knowledge of one blob."""

    uses: Annotated[int, range(2**48)]
    """Records, questions and model files that are these bytes."""
    erased_height: Height
    """Since when the bytes are erased; 0 while they are not. What remains is this tombstone."""


CONTENTS = Table(Prefix.CONTENT, Content)
"""By SHA-256 of the bytes."""

_UNUSED = Content(uses=0, erased_height=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentErased:
    """Bytes are to be deleted everywhere."""

    NAME: ClassVar[str] = "content_erased"

    content: Hash
    """SHA-256 of the bytes."""


def is_erased(state: Reader, content: bytes) -> bool:
    """Whether some bytes are erased."""
    known = CONTENTS.get(state, content)
    return known is not None and known.erased_height > 0


def require_content(state: Reader, content: bytes) -> None:
    """Raises: TransactionRejected BAD_CONTENT when the bytes are erased."""
    if is_erased(state, content):
        raise TransactionRejected(TransactionReason.BAD_CONTENT, f"{content.hex()} was erased")


def add_use(state: State, content: bytes) -> None:
    """The ledger refers to some bytes once more. Raises: TransactionRejected BAD_CONTENT when they are erased."""
    require_content(state, content)
    known = CONTENTS.get(state, content) or _UNUSED
    CONTENTS.put(state, content, replace(known, uses=known.uses + 1))


def drop_use(state: State, content: bytes) -> bool:
    """The ledger refers to some bytes once less. Returns whether they are to be erased now: it was the last use."""
    known = CONTENTS.get(state, content)
    assert known is not None, "every use was added"
    assert known.uses > 0, "every use is dropped once"
    if known.uses > 1 or known.erased_height:
        CONTENTS.put(state, content, replace(known, uses=known.uses - 1))
    else:
        CONTENTS.delete(state, content)
    return known.uses == 1 and not known.erased_height


def erase(state: State, context: Context, content: bytes) -> None:
    """Leaves a tombstone for some bytes."""
    known = CONTENTS.get(state, content) or _UNUSED
    CONTENTS.put(state, content, replace(known, erased_height=context.block.height))
    context.emit(ContentErased(content=content))
