"""Where the story is played: clients to every node, waiting for the chain, and a note of what was refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import msgspec

from devnet.launcher import Launcher
from devnet.topology import Devnet
from node.api import views, views_chain, views_data
from node.client import CallFailed, Client
from node.primitives.address import format_address

CONTENTS_AT_ONCE = 100
STEP_TIMEOUT_S = 90.0
POLL_S = 0.05

T = TypeVar("T")


class StoryError(Exception):
    """The chain did not do what the story needs; the message says what."""


@dataclass(frozen=True)
class Refusal:
    """Something that was refused, or nullified."""

    what: str
    reason: str
    message: str


class Stage:
    """The running nodes as the story uses them."""

    def __init__(self, devnet: Devnet, launcher: Launcher, say: Callable[[str], None]) -> None:
        self.devnet = devnet
        self.launcher = launcher
        self.say = say
        self._stack = ExitStack()
        self.clients = [self._stack.enter_context(Client(node.url)) for node in devnet.nodes]
        self.client = self.clients[0]
        self._refusals_file = devnet.directory / "refusals.json"

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, name: str) -> str:
        """The address of an account of the devnet."""
        return format_address(self.devnet.accounts[name].address)

    def do(
        self, name: str, payload: object, blobs: Sequence[bytes] = (), *, node: int = 0
    ) -> views_chain.TransactionView:
        """Has an account send a payload through a node; returns once it is final on the first node too."""
        client = self.clients[node % len(self.clients)]
        key = self.devnet.accounts[name]
        done = client.submit_and_wait(key, payload, blobs=blobs, timeout_s=STEP_TIMEOUT_S)
        self.client.wait_for_height(done.height)
        return done

    def wait_until(self, is_there: Callable[[], bool], what: str) -> None:
        """Raises: StoryError when something does not come to be."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while not is_there():
            if time.monotonic() > deadline:
                raise StoryError(f"waited {STEP_TIMEOUT_S:g} s in vain until {what}")
            time.sleep(POLL_S)

    def wait_for_age(self, height: int) -> None:
        """Until what came at a height is old enough to be computed with."""
        age = self.devnet.genesis.parameters.claim_age_heights
        self.client.wait_for_height(height + age - 1, timeout_s=STEP_TIMEOUT_S)

    # What the chain knows.

    def datanet(self, datanet: str) -> views_data.DatanetView:
        """A datanet."""
        return self.client.get(views_data.DatanetView, f"/datanets/{datanet}")

    def clusters(self, datanet: str) -> views_data.ClustersView:
        """All clusters of a datanet."""
        path, found = f"/datanets/{datanet}/clusters", []
        page = self.client.get(views_data.ClustersView, path)
        while True:
            found += page.clusters
            if page.next_place is None:
                return msgspec.structs.replace(page, clusters=found)
            page = self.client.get(views_data.ClustersView, path, from_place=page.next_place)

    def model(self, model_id: str) -> views_data.ModelView:
        """A model."""
        return self.client.get(views_data.ModelView, f"/models/{model_id}")

    def contributions(self, datanet: str) -> list[views_data.ContributionView]:
        """Contributions to a datanet, elder first."""
        return list(
            self.client.iterate(views_data.ContributionView, f"/datanets/{datanet}/contributions", sort="oldest")
        )

    def questions(self, model_id: str) -> list[views_data.QuestionView]:
        """Questions to a model, elder first."""
        return list(self.client.iterate(views_data.QuestionView, f"/models/{model_id}/questions", sort="oldest"))

    def records(self, datanet: str) -> list[views_data.RecordView]:
        """Accepted records of a datanet, in the order they were accepted in."""
        records = self.client.iterate(views_data.RecordView, f"/datanets/{datanet}/records")
        return sorted((each for each in records if each.status == "accepted"), key=lambda each: each.position)

    def transactions(self, address: str) -> list[views_chain.TransactionSummary]:
        """Transactions that concern an account."""
        return list(self.client.iterate(views_chain.TransactionSummary, f"/accounts/{address}/transactions"))

    def events(self, address: str, name: str) -> list[dict[str, Any]]:
        """Events of one kind in the transactions that an account sent."""
        sent = [each.id for each in self.transactions(address) if each.sender == address]
        found = [self.client.get(views_chain.TransactionView, f"/transactions/{each}") for each in sent]
        return [event.payload for each in found for event in each.events if event.name == name]

    def fetch(self, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Contents, from the node."""
        found: dict[bytes, bytes] = {}
        for part in batches(hashes, CONTENTS_AT_ONCE):
            calls: list[tuple[str, dict[str, Any]]] = [("get_blob", {"hash": each.hex()}) for each in part]
            for each, answer in zip(part, self.client.batch(calls), strict=True):
                if isinstance(answer, CallFailed):
                    raise answer
                found[each] = base64.b64decode(msgspec.json.decode(answer, type=views.BlobView).content)
        return found

    # Refusals leave no trace on the chain.

    def refusals(self) -> list[Refusal]:
        """What was refused so far, in order."""
        if not self._refusals_file.exists():
            return []
        return [Refusal(**each) for each in json.loads(self._refusals_file.read_text())]

    def is_refused(self, what: str) -> bool:
        """Whether this was refused already, in an earlier run."""
        return any(each.what == what for each in self.refusals())

    def note_refusal(self, refusal: Refusal) -> None:
        """Keeps a refusal for the report, and for the next run."""
        self._refusals_file.write_text(json.dumps([asdict(each) for each in (*self.refusals(), refusal)], indent=1))

    def ensure_refused(self, name: str, what: str, payload: object, blobs: Sequence[bytes] = ()) -> None:
        """Sends what no node may accept. Raises: StoryError when one does."""
        if self.is_refused(what):
            return
        try:
            self.client.send(self.devnet.accounts[name], payload, blobs=blobs)
        except CallFailed as error:
            self.note_refusal(Refusal(what, error.reason, error.hint))
            self.say(f"refused ({error.reason}), {what}: {error.hint}")
            return
        raise StoryError(f"{what}: it was accepted")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in runs of a size."""
    return (items[start : start + size] for start in range(0, len(items), size))
