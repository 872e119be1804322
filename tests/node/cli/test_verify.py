"""`openledger verify` against a real API, and against a liar in front of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

import node.cli.verifier
import node.client
from node.cli.trust import TrustStore
from node.cli.verifier import Trust, Verifier, WitnessDisagrees
from node.cli.verify import verify
from node.client import AsyncClient, CallFailed, Client
from node.config import ConfigError, save_genesis
from node.errors import NetworkError
from node.light import Final, LightReason, LightRefused
from node.modules.accounts import Account, load_account
from node.primitives.address import format_address
from node.primitives.codec import encode
from tests.factories import make_key
from tests.node.light_chain import Played, certify, flipped, handover, header_at, play
from tests.node.light_server import Lie, answering, lying, serving

R = LightReason
TRANSFER = -3


@pytest.fixture(name="played", scope="module")
def played_fixture() -> Played:
    return play()


@pytest.fixture(name="url")
async def url_fixture(played: Played) -> AsyncIterator[str]:
    async with serving(played) as url:
        yield url


@pytest.fixture(name="home")
def home_fixture(played: Played, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    save_genesis(home / "genesis.json", played.chain.genesis)
    return home


def user(played: Played) -> str:
    return format_address(played.chain.users[1].address)


def transfer(played: Played) -> str:
    return list(played.transactions)[TRANSFER].hex()


Shown = tuple[Final, dict[str, Any]]
Ask = Callable[[Verifier], Shown]


async def ask(trust: Trust, question: Ask) -> tuple[Verifier, Final, dict[str, Any]]:
    """What a verifier says, in a thread of its own: its client is not asynchronous."""

    def run() -> tuple[Verifier, Final, dict[str, Any]]:
        with Client(trust.node_url) as client:
            verifier = Verifier(trust, client)
            return verifier, *question(verifier)

    return await asyncio.to_thread(run)


def trust(home: Path, url: str, **changes: Any) -> Trust:
    plain = Trust(home=home, node_url=url, genesis=None, start=None, witness_urls=(), max_age_s=None)
    return replace(plain, **changes)


def last_of(played: Played, epoch: int) -> str:
    """An epoch's last block as --trust takes it."""
    header = handover(played, epoch).header
    return f"{header.height}:{header.id().hex()}"


# What is true is shown.


async def test_an_account_is_verified_from_the_genesis_file(played: Played, url: str, home: Path) -> None:
    verifier, final, shown = await ask(trust(home, url), lambda verifier: verifier.account(user(played)))
    account = load_account(played.replica.state, played.chain.users[1].address)
    assert (shown["exists"], shown["balance_units"], shown["nonce"]) == (True, str(account.balance_units), 7)
    assert (final.header.height, verifier.first_epoch, verifier.light.newest.number) == (played.height, 1, 5)


async def test_an_address_that_nobody_used_is_verified_to_be_unused(played: Played, url: str, home: Path) -> None:
    stranger = format_address(make_key("stranger").address)
    _, _, shown = await ask(trust(home, url), lambda verifier: verifier.account(stranger))
    assert (shown["exists"], shown["balance_units"], shown["nonce"]) == (False, "0", 0)


async def test_every_transaction_is_verified(played: Played, url: str, home: Path) -> None:
    for transaction_id in played.transactions:
        text = transaction_id.hex()
        _, _, shown = await ask(trust(home, url), lambda verifier, text=text: verifier.transaction(text))  # type: ignore[misc]
        assert shown["transaction_id"] == text
    assert (shown["took_effect"], shown["failure"], shown["events"]) == (False, "insufficient_balance", [])


async def test_the_second_call_follows_only_new_epochs(played: Played, url: str, home: Path) -> None:
    asked: list[int] = []

    def note(method: str, parameters: dict[str, Any], result: Any) -> Any:
        if method == "light_block" and "epoch" in parameters:
            asked.append(parameters["epoch"])
        return result

    async with lying(url, note) as watched:
        await ask(trust(home, watched), lambda verifier: verifier.account(user(played)))
        assert asked[:4] == [1, 2, 3, 4]
        asked.clear()
        verifier, _, _ = await ask(trust(home, watched), lambda verifier: verifier.transaction(transfer(played)))
    assert asked == []
    assert (verifier.first_epoch, sorted(verifier.light.epochs)) == (5, [1, 2, 3, 4, 5])


async def test_a_start_at_an_epochs_last_block_needs_no_genesis(played: Played, url: str, tmp_path: Path) -> None:
    start = last_of(played, 2)
    verifier, _, shown = await ask(
        trust(tmp_path, url, start=start), lambda verifier: verifier.transaction(transfer(played))
    )
    assert shown["took_effect"]
    assert (verifier.store.root, sorted(verifier.light.epochs)) == (start, [3, 4, 5])
    first = next(iter(played.transactions)).hex()
    with pytest.raises(LightRefused) as refused:
        await ask(trust(tmp_path, url, start=start), lambda verifier: verifier.transaction(first))
    assert refused.value.reason is R.UNKNOWN_EPOCH


async def test_a_start_inside_an_epoch_is_refused_with_the_nearest_one(
    played: Played, url: str, tmp_path: Path
) -> None:
    block = played.replica.blocks.block(20)
    assert block is not None
    with pytest.raises(ConfigError, match=r"takes the last block of an epoch, 20 is none; the node names 16"):
        await ask(
            trust(tmp_path, url, start=f"20:{block.header.id().hex()}"), lambda verifier: verifier.account(user(played))
        )


async def test_another_node_of_the_chain_agrees(played: Played, url: str, home: Path) -> None:
    other = next(node for node in played.world.nodes.values() if node is not played.node)
    async with serving(played, other) as witness:
        asked = trust(home, url, witness_urls=(witness,))
        _, final, _ = await ask(asked, lambda verifier: verifier.transaction(transfer(played)))
    assert final.header.height < played.height


# Witnesses.


async def test_a_witness_with_another_block_is_shown_beside_the_node(played: Played, url: str, home: Path) -> None:
    def other_block(method: str, parameters: dict[str, Any], result: Any) -> Any:
        return {**result, "header": flipped(bytes.fromhex(result["header"]), -1).hex()}

    async with lying(url, other_block) as witness:
        with pytest.raises(WitnessDisagrees) as raised:
            await ask(
                trust(home, url, witness_urls=(witness,)), lambda verifier: verifier.transaction(transfer(played))
            )
    said = str(raised.value)
    assert url in said
    assert witness in said
    assert "but does not prove it final (" in said


async def test_a_witness_that_sends_rubbish_is_named_not_the_node(played: Played, url: str, home: Path) -> None:
    async with lying(url, in_answers("light_block", change=lambda told: deep(told, "header", value="c0"))) as witness:
        with pytest.raises(WitnessDisagrees, match=rf"{witness} has no block that can be read"):
            await ask(trust(home, url, witness_urls=(witness,)), lambda verifier: verifier.account(user(played)))


async def test_a_fork_that_validators_signed_is_shown_for_what_it_is(played: Played, url: str, home: Path) -> None:
    forked = replace(header_at(played, played.height), time_ms=1)
    other = {"header": encode(forked).hex(), "finality": certify(played, forked).hex()}
    async with lying(url, in_answers("light_block", change=lambda told: {**told, **other})) as witness:
        with pytest.raises(WitnessDisagrees, match="and proves it final too: validators with a third of the power"):
            await ask(trust(home, url, witness_urls=(witness,)), lambda verifier: verifier.account(user(played)))


async def test_a_witness_that_is_behind_is_waited_for_and_then_named(
    played: Played, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.cli.verifier, "WITNESS_WAIT_S", 0.0)

    async def behind(_: web.Request) -> web.Response:
        error = {"code": -32000, "message": "Refused", "data": {"reason": "not_found", "hint": "not yet"}}
        return web.json_response({"jsonrpc": "2.0", "id": 1, "error": error})

    async with answering(behind) as witness:
        with pytest.raises(NetworkError, match=r"the witness .* does not show the block"):
            await ask(trust(home, url, witness_urls=(witness,)), lambda verifier: verifier.account(user(played)))


# Lies.


def in_answers(*methods: str, change: Callable[[Any], Any]) -> Lie:
    return lambda method, _, result: change(result) if method in methods else result


def deep(result: Any, *path: str, value: Any) -> Any:
    """A copy with something else in one place."""
    first, *rest = path
    return {**result, first: deep(result[first], *rest, value=value) if rest else value}


def flip(result: Any, *path: str, at: int = -1) -> Any:
    found = result
    for each in path:
        found = found[each]
    return deep(result, *path, value=flipped(bytes.fromhex(found), at).hex())


def only_handovers(change: Callable[[Any], Any]) -> Lie:
    return lambda method, _, result: change(result) if method == "light_block" and result["handover"] else result


RICH = encode(Account(balance_units=10**17, bond_units=0, nonce=7, public_key=b"", roles=0)).hex()
ACCOUNT_LIES: dict[str, tuple[LightReason, Lie]] = {
    "a richer account": (R.FALSE_STATE, in_answers("query", change=lambda told: deep(told, "value", value=RICH))),
    "a hidden account": (R.FALSE_STATE, in_answers("query", change=lambda told: deep(told, "value", value=None))),
    "a path cut short": (
        R.FALSE_STATE,
        in_answers("query", change=lambda told: deep(told, "proof", "nodes", value=told["proof"]["nodes"][:-1])),
    ),
    "no hexadecimal": (R.MALFORMED, in_answers("query", change=lambda told: deep(told, "value", value="zz"))),
    "a signature that is none": (
        R.BAD_SIGNATURE,
        in_answers("light_block", change=lambda told: flip(told, "finality")),
    ),
    "another header": (R.WRONG_BLOCK, in_answers("light_block", change=lambda told: flip(told, "header", at=300))),
    "other validators next": (R.FALSE_STATE, only_handovers(lambda told: flip(told, "handover", "governing"))),
    "no validators next": (R.NOT_EPOCH_END, only_handovers(lambda told: deep(told, "handover", value=None))),
}
TRANSACTION_LIES: dict[str, tuple[LightReason, Lie]] = {
    "no proof": (R.NOT_INCLUDED, in_answers("tx", change=lambda told: deep(told, "proof", value=None))),
    "other bytes": (
        R.WRONG_TRANSACTION,
        in_answers("tx", change=lambda told: flip(told, "proof", "transaction", "leaf", at=20)),
    ),
    "another block": (
        R.NOT_INCLUDED,
        in_answers("tx", change=lambda told: deep(told, "proof", "header", "height", value=1)),
    ),
    "another receipt": (
        R.WRONG_RECEIPT,
        in_answers("tx", change=lambda told: flip(told, "proof", "receipt", "leaf", at=5)),
    ),
    "another fee": (
        R.NOT_INCLUDED,
        in_answers("tx", change=lambda told: flip(told, "proof", "receipt", "leaf", at=40)),
    ),
    "siblings without end": (
        R.TOO_LARGE,
        in_answers("tx", change=lambda told: deep(told, "proof", "receipt", "siblings", value=["00"] * 33)),
    ),
}


async def refuses(reason: LightReason, home: Path, url: str, question: Ask, **changes: Any) -> None:
    with pytest.raises(LightRefused) as refused:
        await ask(trust(home, url, **changes), question)
    assert refused.value.reason is reason, str(refused.value)


@pytest.mark.parametrize("what", ACCOUNT_LIES)
async def test_a_liars_account_is_refused(played: Played, url: str, home: Path, what: str) -> None:
    reason, lie = ACCOUNT_LIES[what]
    async with lying(url, lie) as liar:
        await refuses(reason, home, liar, lambda verifier: verifier.account(user(played)))


@pytest.mark.parametrize("what", TRANSACTION_LIES)
async def test_a_liars_transaction_is_refused(played: Played, url: str, home: Path, what: str) -> None:
    reason, lie = TRANSACTION_LIES[what]
    async with lying(url, lie) as liar:
        await refuses(reason, home, liar, lambda verifier: verifier.transaction(transfer(played)))


async def test_another_block_than_the_one_asked_for_is_refused(played: Played, url: str, home: Path) -> None:
    async with AsyncClient(url) as client:
        other = await client.call("light_block", height=played.height - 1)

    def swap(method: str, parameters: dict[str, Any], result: Any) -> Any:
        return other if method == "light_block" and "height" in parameters else result

    async with lying(url, swap) as liar:
        await refuses(R.WRONG_BLOCK, home, liar, lambda verifier: verifier.account(user(played)))


async def test_an_older_state_than_one_seen_before_is_refused(played: Played, url: str, home: Path) -> None:
    verifier, _, _ = await ask(trust(home, url), lambda verifier: verifier.account(user(played)))
    verifier.light.newest_height += 1
    verifier.store.save(verifier.light)
    await refuses(R.STALE, home, url, lambda verifier: verifier.account(user(played)))


async def test_a_state_older_than_asked_for_is_refused(
    played: Played, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = played.replica.tree.tip.time_ms // 1000 + 100
    monkeypatch.setattr(node.cli.verifier.time, "time", lambda: now_s)
    await refuses(R.STALE, home, url, lambda verifier: verifier.account(user(played)), max_age_s=99)
    _, _, shown = await ask(trust(home, url, max_age_s=100), lambda verifier: verifier.account(user(played)))
    assert shown["age_seconds"] == 100


async def test_a_node_of_another_chain_is_refused(played: Played, url: str, tmp_path: Path) -> None:
    other = replace(played.chain.genesis, chain_name="another")
    save_genesis(tmp_path / "other.json", other)
    await refuses(
        R.WRONG_CHAIN, tmp_path, url, lambda verifier: verifier.account(user(played)), genesis=tmp_path / "other.json"
    )


async def test_what_the_node_refuses_is_said_in_its_words(played: Played, url: str, home: Path) -> None:
    with pytest.raises(CallFailed, match="ask tx_status"):
        await ask(trust(home, url), lambda verifier: verifier.transaction("00" * 32))


async def test_an_answer_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node.client, "LARGEST_ANSWER_SIZE_BYTES", 1_000)

    async def endless(_: web.Request) -> web.Response:
        return web.Response(body=b" " * 1_001)

    async with answering(endless) as url, AsyncClient(url) as client:
        with pytest.raises(NetworkError, match="larger than any node's"):
            await client.status()


# What the user types.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": "nonsense"}, "--trust is HEIGHT:BLOCK_ID"),
        ({"start": "-1:" + "00" * 32}, "--trust is HEIGHT:BLOCK_ID"),
        ({"start": "1" * 99 + ":" + "00" * 32}, "--trust is HEIGHT:BLOCK_ID"),
        ({"start": "8:00"}, "the block id in --trust is 64 hexadecimal digits"),
        ({"home": Path("/nowhere")}, "give --genesis FILE or --trust HEIGHT:BLOCK_ID"),
    ],
)
async def test_a_start_that_is_none_is_named(played: Played, home: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        await ask(
            replace(trust(home, "http://127.0.0.1:9"), **changes), lambda verifier: verifier.account(user(played))
        )


async def test_an_id_or_address_that_is_none_is_named(home: Path) -> None:
    for question in (lambda verifier: verifier.transaction("00"), lambda verifier: verifier.account("open1zz")):
        with pytest.raises(ConfigError, match=r"64 hexadecimal digits|not bech32m"):
            await ask(trust(home, "http://127.0.0.1:9"), question)


async def test_an_old_state_is_shown_with_a_warning(
    played: Played, url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = played.replica.tree.tip.time_ms // 1000 + 61
    monkeypatch.setattr(node.cli.verifier.time, "time", lambda: now_s)
    words = ["account", user(played), *options(home, url)]
    done = await asyncio.to_thread(lambda: CliRunner().invoke(verify, words))
    assert "warning  this state is 61 s old: there may be a later one" in done.output


# As a process.


async def run(*words: str, code: int = 0) -> tuple[str, str]:
    """What `openledger verify` says on its two outputs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "node", "verify", *words),
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    assert process.returncode == code, (said, complained)
    assert b"Traceback" not in complained
    return said.decode(), complained.decode()


def options(home: Path, url: str) -> Sequence[str]:
    return ("--home", str(home), "--node", url)


@pytest.mark.slow
async def test_the_command_says_what_was_checked(played: Played, url: str, home: Path) -> None:
    said, _ = await run("account", user(played), *options(home, url))
    for words in (
        f"account {user(played)}\n",
        "nonce    7",
        f"start    {played.chain.genesis_hash.hex()}",
        "4 followed now",
        f"block    {played.height} of epoch 5, {played.replica.tree.tip_id.hex()}",
        "with 30 of 31 power",
        "no other node was asked",
    ):
        assert words in said, said
    said, _ = await run("tx", transfer(played), *options(home, url), "--witness", url)
    assert f"transaction {transfer(played)} is final, and took effect" in said
    assert "0 followed now" in said
    assert f"agreed   by {url}" in said


@pytest.mark.slow
async def test_the_command_says_the_same_to_programs(played: Played, url: str, home: Path) -> None:
    said, _ = await run("tx", transfer(played), *options(home, url), "--json")
    found = json.loads(said)
    assert (found["is_proven"], found["took_effect"], found["events"]) == (True, True, ["transferred"])
    checked = found["checked"]
    assert (checked["power"], checked["total_power"], checked["epochs_followed"]) == (30, 31, 4)
    assert checked["certified_height"] > checked["height"]


@pytest.mark.slow
async def test_the_command_exits_with_one_when_a_proof_is_false(played: Played, url: str, home: Path) -> None:
    reason, lie = ACCOUNT_LIES["a richer account"]
    async with lying(url, lie) as liar:
        said, complained = await run("account", user(played), *options(home, liar), "--json", code=1)
        assert json.loads(said)["reason"] == reason.value
        assert f"refused (false_state): {liar} proves nothing" in complained
        said, complained = await run("account", user(played), *options(home, url), "--witness", liar)
        assert "agreed" in said  # it lies about the account, not about the block

    def other_block(method: str, _: dict[str, Any], result: Any) -> Any:
        return flip(result, "header")

    async with lying(url, other_block) as liar:
        said, complained = await run("account", user(played), *options(home, url), "--witness", liar, code=1)
        assert said == ""
        assert played.replica.tree.tip_id.hex() in complained


# The trust store.


async def test_the_store_gives_back_the_client_it_was_given(played: Played, url: str, home: Path) -> None:
    verifier, _, _ = await ask(trust(home, url), lambda verifier: verifier.account(user(played)))
    loaded = verifier.store.load()
    assert loaded is not None
    assert (loaded.genesis_hash, loaded.epochs, loaded.newest_height) == (
        verifier.light.genesis_hash,
        verifier.light.epochs,
        verifier.light.newest_height,
    )
    assert len(json.loads(verifier.store.path.read_text())["sets"]) == 4
    assert verifier.store.path.stat().st_size < 4_000
    assert TrustStore(home, "8:" + "00" * 32).load() is None
    assert [path.suffix for path in verifier.store.path.parent.iterdir()] == [".json"]


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda told: [],
    "another start": lambda told: {**told, "root": "00" * 32},
    "another chain": lambda told: {**told, "genesis_hash": "00" * 32},
    "no epochs": lambda told: {**told, "epochs": []},
    "a gap": lambda told: {**told, "epochs": told["epochs"][::2]},
    "heights that fall": lambda told: {**told, "epochs": [[n, 1, s] for n, _, s in told["epochs"]]},
    "a set that is not there": lambda told: {**told, "epochs": [[n, h, 9] for n, h, _ in told["epochs"]]},
    "a number that is text": lambda told: {**told, "newest_height": "33"},
    "a truth for a number": lambda told: {**told, "newest_height": True},
    "an empty set": lambda told: {**told, "sets": ["90"] * len(told["sets"])},
    "a set that is none": lambda told: {**told, "sets": ["c0"] * len(told["sets"])},
    "a missing field": lambda told: {"root": told["root"]},
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_store_that_was_changed_is_refused_with_what_to_do(
    played: Played, url: str, home: Path, what: str
) -> None:
    verifier, _, _ = await ask(trust(home, url), lambda verifier: verifier.account(user(played)))
    told = json.loads(verifier.store.path.read_text())
    verifier.store.path.write_text(json.dumps(BROKEN[what](told)))
    with pytest.raises(ConfigError, match=r"cannot be trusted .* delete it"):
        verifier.store.load()


async def test_a_store_that_was_cut_off_is_refused(played: Played, url: str, home: Path) -> None:
    verifier, _, _ = await ask(trust(home, url), lambda verifier: verifier.account(user(played)))
    verifier.store.path.write_bytes(verifier.store.path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cannot be trusted"):
        verifier.store.load()
