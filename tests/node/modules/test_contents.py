"""Uses and tombstones of blobs."""

from __future__ import annotations

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.modules.contents import (
    CONTENTS,
    Content,
    ContentErased,
    add_use,
    drop_use,
    erase,
    is_erased,
    require_content,
)
from node.primitives.codec import encode
from node.state.view import View
from node.types.receipt import Event
from tests.node.modules.scenes import genesis_scene, make_context

CONTENT = b"c" * 32


@pytest.fixture(name="view")
def view_fixture() -> View:
    return View(genesis_scene().ledger.state)


def test_bytes_go_with_their_last_use(view: View) -> None:
    add_use(view, CONTENT)
    add_use(view, CONTENT)
    assert CONTENTS.get(view, CONTENT) == Content(uses=2, erased_height=0)
    assert not drop_use(view, CONTENT)
    assert CONTENTS.get(view, CONTENT) == Content(uses=1, erased_height=0)
    assert drop_use(view, CONTENT)
    assert CONTENTS.get(view, CONTENT) is None


def test_a_use_that_was_never_added_is_a_bug(view: View) -> None:
    with pytest.raises(AssertionError, match="every use was added"):
        drop_use(view, CONTENT)


def test_an_erasure_leaves_a_tombstone_with_its_height_and_tells_everybody(view: View) -> None:
    context = make_context(genesis_scene().ledger)
    add_use(view, CONTENT)
    erase(view, context, CONTENT)
    assert is_erased(view, CONTENT)
    assert CONTENTS.get(view, CONTENT) == Content(uses=1, erased_height=1)
    assert context.events == [Event(name="content_erased", payload=encode(ContentErased(content=CONTENT)))]


def test_erased_bytes_are_never_used_again_and_their_tombstone_stays(view: View) -> None:
    add_use(view, CONTENT)
    erase(view, make_context(genesis_scene().ledger), CONTENT)
    for refuse in (add_use, require_content):
        with pytest.raises(TransactionRejected) as found:
            refuse(view, CONTENT)
        assert (found.value.reason, found.value.detail) == (
            TransactionReason.BAD_CONTENT,
            f"{CONTENT.hex()} was erased",
        )
    assert not drop_use(view, CONTENT), "they are erased already"
    assert CONTENTS.get(view, CONTENT) == Content(uses=0, erased_height=1)
