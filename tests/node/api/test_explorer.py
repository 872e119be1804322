"""The explorer's REST routes: each answers what its row says, every listing can be walked, what is wrong is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from node.api import requests, views, views_data
from node.api.cursor import encode_cursor, make_scope
from node.api.explorer import BYTES, EVENTS, ROUTES, Route
from node.api.requests import BASE
from node.audit import Audit
from node.index import place_of
from node.modules.accounts import Transfer
from node.primitives.address import format_address
from node.primitives.crypto import sha256
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import OPEN, Story, equivocation, story_chain

LISTINGS = [route for route in ROUTES if issubclass(route.parameters, requests.Listing)]
UNBOUND = [route for route in ROUTES if route.media_type != EVENTS]


def things(story: Story) -> dict[str, Sequence[str]]:
    """What to put in the path of each route, by the path's first word."""
    people = story.chain.people
    accounts = [people[name].address for name in ("clinic a", "clinic b", "developer", "heir", "asker", "curator")]
    ids = {
        "transactions": [story.answers, story.failed],
        "datanets": [story.datanet, story.empty_datanet],
        "contributions": [*story.accepted.values(), story.rejected, story.pending],
        "records": [*story.records["clinic b"], story.restricted_record, story.erased_record],
        "models": [story.model],
        "questions": [*story.questions, story.open_question, story.erased_question],
        "attributions": story.questions,
        "proposals": [story.proposal],
        "contents": [story.records["clinic a"][0]],
    }
    return {
        "blocks": ["0", "1", str(story.height)],
        "accounts": [format_address(each) for each in accounts],
        **{word: [each.hex() for each in of_word] for word, of_word in ids.items()},
    }


async def paths(client: Client, route: Route, story: Story) -> list[str]:
    """A route's path with everything of the story in it."""
    word, *_ = route.path.strip("/").split("/")
    found = things(story)
    found["payments"] = [each["id"] for each in (await client.get(f"{BASE}/payments")).json["items"]]
    if "{" not in route.path:
        return [BASE + route.path + ("?q=Bio" if word == "search" else "")]
    return [BASE + re.sub(r"{\w+}", each, route.path) for each in found[word]]


async def walk(client: Client, path: str, **query: Any) -> list[Any]:
    """All items of a listing, page by page."""
    items: list[Any] = []
    following: dict[str, Any] | None = query
    while following is not None:
        answer = await client.get(f"{path}?{urlencode(following)}")
        assert answer.status == 200, answer.body
        items += answer.json["items"]
        following = answer.json["next_page_params"]
        assert following is None or (answer.json["items"] and set(following) == {"limit", "sort", "cursor"})
    return items


async def refused(client: Client, path: str) -> tuple[int, str]:
    """Status and reason of a refusal."""
    answer = await client.get(BASE + path)
    error = msgspec.convert(answer.json, views.ErrorAnswer, strict=True).error
    assert error.message
    return answer.status, error.reason


@pytest.mark.parametrize("route", UNBOUND, ids=lambda route: route.path)
async def test_every_route_answers_with_the_type_it_says(client: Client, story: Story, route: Route) -> None:
    for path in await paths(client, route, story):
        answer = await client.get(path)
        assert answer.status == 200, (path, answer.body)
        if route.media_type == BYTES:
            assert sha256(answer.body).hex() in path
        else:
            assert answer.headers["Content-Type"] == "application/json"
            view = msgspec.convert(answer.json, route.result, strict=True)
            assert msgspec.to_builtins(view) == answer.json, path
        head = await client.request("HEAD", path)
        assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("route", LISTINGS, ids=lambda route: route.path)
async def test_every_listing_is_walked_without_gap_or_double_both_ways(
    client: Client, story: Story, route: Route
) -> None:
    for path in await paths(client, route, story):
        whole = await walk(client, path, limit=100)
        newest = await walk(client, path, limit=3 if len(whole) > 10 else 1)
        oldest = await walk(client, path, limit=2, sort="oldest")
        texts = [msgspec.json.encode(each) for each in whole]
        assert len(set(texts)) == len(texts), path
        assert newest == whole
        assert oldest == whole[::-1]


async def test_listings_hold_what_the_story_left(client: Client, story: Story) -> None:
    people = story.chain.people
    clinic = format_address(people["clinic a"].address)
    expected = {
        "/blocks": story.height + 1,
        "/datanets": 2,
        f"/datanets/{story.datanet.hex()}/records": 51,
        f"/datanets/{story.datanet.hex()}/contributions": 6,
        f"/datanets/{story.datanet.hex()}/models": 1,
        f"/datanets/{story.empty_datanet.hex()}/records": 0,
        f"/accounts/{clinic}/records": 19,
        f"/accounts/{clinic}/contributions": 4,
        f"/accounts/{format_address(people['developer'].address)}/models": 1,
        f"/accounts/{format_address(people['heir'].address)}/models": 1,
        f"/accounts/{format_address(people['asker'].address)}/questions": 5,
        f"/accounts/{format_address(people['asker'].address)}/transactions": 7,
        "/models": 1,
        f"/models/{story.model.hex()}/questions": 5,
        f"/models/{story.model.hex()}/attributions": 3,
        "/questions": 5,
        "/attributions": 3,
        "/proposals": 1,
    }
    for path, count in expected.items():
        assert len(await walk(client, BASE + path, limit=100)) == count, path
    payments = await walk(client, BASE + "/payments", limit=100)
    assert len(payments) > 10
    assert await walk(client, f"{BASE}/models/{story.model.hex()}/payments", limit=100) == payments
    by_record = [
        await walk(client, f"{BASE}/records/{each['record']}/payments", limit=100)
        for each in {payment["record"]: payment for payment in payments}.values()
    ]
    assert sorted(each["id"] for part in by_record for each in part) == sorted(each["id"] for each in payments)


async def test_transactions_of_all_blocks_are_those_of_each_block(client: Client, story: Story) -> None:
    together = await walk(client, BASE + "/transactions", limit=7, sort="oldest")
    by_block = []
    for height in range(story.height + 1):
        by_block += await walk(client, f"{BASE}/blocks/{height}/transactions", limit=1, sort="oldest")
    assert together == by_block
    stats = (await client.get(BASE + "/stats")).json
    assert stats["transactions"] == len(together)
    assert stats["failed_transactions"] == sum(each["failure"] != "" for each in together) == 1


async def test_a_walk_goes_on_where_it_was_while_blocks_come(client: Client, story: Story) -> None:
    first = (await client.get(f"{BASE}/blocks?limit=5")).json
    await client.node.mine(3)
    following = first["next_page_params"]
    second = (await client.get(f"{BASE}/blocks?{urlencode(following)}")).json
    heights = [each["height"] for each in first["items"] + second["items"]]
    assert heights == list(range(story.height, story.height - 10, -1))


async def test_a_block_of_many_transactions_is_paged_in_its_middle(client: Client) -> None:
    users = client.node.chain.users
    for nonce in (2, 3, 4, 5, 1):
        order = Transfer(recipient=users[1].address, amount_units=nonce)
        data = client.node.sign(users[0], order, nonce=nonce)
        method = "broadcast_tx_sync" if nonce > 1 else "broadcast_tx_commit"
        await client.call(method, transaction=data.hex())
    for limit in (1, 2, 3, 4):
        newest = await walk(client, BASE + "/transactions", limit=limit)
        assert [each["nonce"] for each in newest[:5]] == [5, 4, 3, 2, 1]
        assert newest == (await walk(client, BASE + "/transactions", limit=limit, sort="oldest"))[::-1]
        assert len(await walk(client, f"{BASE}/blocks/{client.node.height}/transactions", limit=limit)) == 5


@pytest.mark.parametrize("route", LISTINGS, ids=lambda route: route.path)
async def test_a_cursor_is_bound_to_its_listing_and_order(client: Client, story: Story, route: Route) -> None:
    [path, *_] = await paths(client, route, story)
    for donor in ("/blocks", "/transactions", "/payments", f"/datanets/{story.datanet.hex()}/records"):
        cursor = (await client.get(f"{BASE}{donor}?limit=1")).json["next_page_params"]["cursor"]
        if path == BASE + donor:
            assert await refused(client, f"{donor}?cursor={cursor}&sort=oldest") == (422, "invalid_cursor")
            other = "B" if cursor[-4] == "A" else "A"  # not the last one: it may carry bits that say nothing
            assert await refused(client, f"{donor}?cursor={cursor[:-4]}{other}{cursor[-3:]}") == (422, "invalid_cursor")
        else:
            assert await refused(client, f"{path.removeprefix(BASE)}?cursor={cursor}") == (422, "invalid_cursor")
    for wrong in ("", "A", "AAAA", "%20", "*", "%C3%A9", "A" * 200):
        assert await refused(client, f"{path.removeprefix(BASE)}?cursor={wrong}") == (422, "invalid_cursor")


async def test_cursors_of_one_block_or_account_do_not_fit_another(client: Client, story: Story) -> None:
    asker, developer = (format_address(story.chain.people[name].address) for name in ("asker", "developer"))
    cursor = (await client.get(f"{BASE}/accounts/{asker}/transactions?limit=1")).json["next_page_params"]["cursor"]
    assert await refused(client, f"/accounts/{developer}/transactions?cursor={cursor}") == (422, "invalid_cursor")


async def test_a_cursor_made_up_by_its_recipe_shows_what_there_is_and_no_failure(client: Client, story: Story) -> None:
    for sort in ("newest", "oldest"):
        for listing, path in (("transactions", "/transactions"), ("block-transactions 3", "/blocks/3/transactions")):
            for place in (place_of(3, 60_000), place_of(2**48 - 1, 7), place_of(0, 0)):
                scope = make_scope(story.chain.genesis_hash, listing, sort)
                answer = await client.get(f"{BASE}{path}?sort={sort}&cursor={encode_cursor(scope, place)}")
                assert answer.status == 200, answer.body


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_unknown_parameters_are_refused_by_every_route(client: Client, story: Story, route: Route) -> None:
    [path, *_] = await paths(client, route, story)
    mark = "&" if "?" in path else "?"
    assert await refused(client, f"{path.removeprefix(BASE)}{mark}colour=red") == (422, "unknown_parameter")


@pytest.mark.parametrize(
    "path",
    [
        "/blocks?limit=0",
        "/blocks?limit=101",
        "/blocks?limit=-1",
        "/blocks?limit=ten",
        "/blocks?limit=1.5",
        "/blocks?limit=",
        "/blocks?limit=5&limit=6",
        "/blocks?limit=99999999999999999999999",
        "/blocks?sort=sideways",
        "/blocks/-1",
        "/blocks/1?block=2",
        "/blocks/abc",
        "/blocks/" + "z" * 64,
        "/blocks/" + "a" * 64 + "%0A",
        "/transactions/1",
        "/contents/" + "a" * 64 + "%0A",
        "/accounts/open1zzzzzzzz",
        "/accounts/xyz",
        "/payments/1",
        "/payments/1-2",
        "/payments/a-b-c",
        "/search",
        "/search?q=",
        "/search?q=" + "a" * 129,
        "/stats/days?days=0",
        "/stats/days?days=367",
        "/validators?epoch=0",
        "/validators?epoch=x",
        "/events?from_height=-1",
    ],
)
async def test_values_that_cannot_be_used_are_refused(client: Client, path: str) -> None:
    assert await refused(client, path) == (422, "invalid_parameter")


@pytest.mark.parametrize("route", [route for route in ROUTES if "{id}" in route.path], ids=lambda route: route.path)
async def test_ids_of_nothing_are_not_found(client: Client, route: Route) -> None:
    unknown = "9-9-9" if route.path.startswith("/payments") else "ab" * 32
    path = route.path.replace("{id}", unknown)
    if route in LISTINGS:
        assert (await client.get(BASE + path)).json == {"items": [], "next_page_params": None}
    else:
        assert await refused(client, path) == (404, "not_found")


async def test_what_is_not_there_is_not_found(client: Client, story: Story) -> None:
    for path in (
        "/nothing",
        "/blocks/",
        "/",
        f"/blocks/{story.height + 1}",
        "/blocks/999999999999999",
        "/blocks/" + "0" * 64,
    ):
        assert await refused(client, path) == (404, "not_found"), path
    for path in (
        "/payments/999999999999999-99999-99999",
        f"/attributions/{story.open_question.hex()}",
        "/validators?epoch=99",
    ):
        assert await refused(client, path) == (404, "not_found"), path
    assert (await client.get("/nothing")).json["error"]["reason"] == "not_found"


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_allowed(client: Client, verb: str) -> None:
    answer = await client.request(verb, BASE + "/blocks")
    assert (answer.status, answer.json["error"]["reason"]) == (405, "unknown_method")
    assert "GET" in answer.headers["Allow"]


async def test_a_node_without_an_index_says_so_and_shows_blocks() -> None:
    async with serving(Node(story_chain(), has_index=False)) as client:
        await client.node.mine(2)
        assert await refused(client, "/payments") == (404, "not_found")
        assert await refused(client, "/stats") == (404, "not_found")
        assert [each["height"] for each in (await client.get(BASE + "/blocks")).json["items"]] == [2, 1, 0]
        assert (await client.get(BASE + "/blocks/1")).status == 200


# What the views say.


async def test_a_payment_says_why_in_numbers_that_can_be_replayed(client: Client, story: Story) -> None:
    for each in (await client.get(BASE + "/payments?limit=100")).json["items"]:
        why = msgspec.convert((await client.get(f"{BASE}/payments/{each['id']}")).json, views_data.PaymentWhy)
        paid = why.payment
        assert msgspec.to_builtins(paid) == each
        amount = int(paid.pool_units) * paid.excess // paid.weight
        accrued = int(paid.mint_pool_units) * paid.excess // paid.weight
        assert (amount, accrued) == (int(paid.amount_units), int(paid.accrued_units))
        assert f"{paid.pool_units} · {paid.excess} // {paid.weight} = {amount}" in why.formula
        assert paid.record[:12] in why.sentence
        assert f"relative influence of {paid.influence} of 1000" in why.sentence
        assert f"and {story.chain.genesis.parameters.sigma} is added" in why.sentence


async def test_an_answer_shows_who_made_it_and_who_was_paid(client: Client, story: Story) -> None:
    for number, question in enumerate(story.questions):
        shown = (await client.get(f"{BASE}/attributions/{question.hex()}")).json
        shown = msgspec.convert(shown, views_data.AttributionDetail)
        assert shown.attribution.transaction_id == story.answers.hex()
        assert shown.question.status == "answered"
        assert shown.question.answer == shown.attribution.answer in ("benign", "malignant")
        assert [each.record for each in shown.credits] == [each.record for each in shown.payments]
        assert [each.influence for each in shown.credits] == [each.influence for each in shown.payments]
        split = shown.settlement
        assert split is not None
        parts = (split.burned_units, split.owner_units, split.data_units, split.reviewers_units, split.validators_units)
        assert sum(map(int, parts)) == int(split.fee_units) == (2 + number) * OPEN
        paid = sum(int(each.amount_units) for each in shown.payments)
        assert paid + int(split.escrow_units) == int(split.data_units)


async def test_records_show_where_they_stand(client: Client, story: Story) -> None:
    expected = {
        story.records["clinic b"][3]: ("accepted", 19, True),
        story.rejected_record: ("rejected", 0, False),
        story.restricted_record: ("pending", 0, False),
        story.erased_record: ("erased", 0, True),
    }
    for content, (status, position, is_public) in expected.items():
        shown = msgspec.convert((await client.get(f"{BASE}/records/{content.hex()}")).json, views_data.ContentView)
        [record] = shown.records
        assert (record.status, record.position) == (status, position), status
        assert (shown.is_public, shown.erased_height > 0) == (is_public, status == "erased"), status
    query = (await client.get(f"{BASE}/questions/{story.questions[0].hex()}")).json["query"]
    assert (await client.get(f"{BASE}/records/{query}")).json["records"] == []


async def test_contents_are_served_until_they_are_erased(client: Client, story: Story) -> None:
    public = f"/contents/{story.records['clinic a'][0].hex()}"
    answer = await client.get(BASE + public)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await client.get(BASE + public, **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert await refused(client, f"/contents/{story.erased_record.hex()}") == (410, "erased")
    assert await refused(client, f"/contents/{story.erased_query.hex()}") == (410, "erased")
    assert await refused(client, f"/contents/{story.restricted_record.hex()}") == (403, "not_permitted")
    assert await refused(client, f"/contents/{story.uploaded.hex()}") == (403, "not_permitted")


async def test_a_datanet_shows_its_holdout_models_and_escrow(client: Client, story: Story) -> None:
    shown = msgspec.convert((await client.get(f"{BASE}/datanets/{story.datanet.hex()}")).json, views_data.DatanetView)
    assert (shown.name, shown.accepted_count, shown.models) == ("Biopsies", 48, [story.model.hex()])
    assert int(shown.escrow_units) > 0
    assert shown.holdout is not None
    assert shown.holdout.used == [0]
    model = msgspec.convert((await client.get(f"{BASE}/models/{story.model.hex()}")).json, views_data.ModelView)
    assert (model.status, model.is_open, model.is_gate_on, model.snapshot_count) == ("active", True, True, 48)
    assert model.eligibility_bps > 0
    assert model.owner == format_address(story.chain.people["heir"].address)


async def test_questions_show_what_became_of_them(client: Client, story: Story) -> None:
    opened = (await client.get(f"{BASE}/questions/{story.open_question.hex()}")).json
    assert (opened["status"], opened["label"], opened["answer"], opened["is_erased"]) == ("open", None, None, False)
    assert (await client.get(f"{BASE}/questions/{story.erased_question.hex()}")).json["is_erased"]


async def test_search_finds_each_kind_of_thing(client: Client, story: Story) -> None:
    address = format_address(story.chain.people["asker"].address)
    block_id = (await client.call("block", height=5))["header"]["id"]
    expected = {
        "5": ("block", "5"),
        block_id: ("block", block_id),
        address: ("account", address),
        story.datanet.hex(): ("datanet", "Biopsies"),
        story.model.hex(): ("model", "Biopsy reader"),
        story.questions[0].hex().upper(): ("question", story.questions[0].hex()),
        story.accepted["clinic a"].hex(): ("contribution", story.accepted["clinic a"].hex()),
        story.proposal.hex(): ("proposal", story.proposal.hex()),
        story.failed.hex(): ("transaction", story.failed.hex()),
        story.records["clinic c"][0].hex(): ("record", story.records["clinic c"][0].hex()),
        "BIOPSI": ("datanet", "Biopsies"),
    }
    for text, (kind, name) in expected.items():
        found = (await client.get(f"{BASE}/search?q={text}")).json["items"]
        assert (kind, name) in [(each["kind"], each["name"]) for each in found], text
        for each in found:
            assert (await client.get(each["link"])).status == 200, each
    names = [each["name"] for each in (await client.get(f"{BASE}/search?q=bio")).json["items"]]
    assert sorted(names) == ["Bioassays", "Biopsies", "Biopsy reader"]
    for nothing in ("zzz", "open1", "open1zzz", "%20", "99999999999999999", "00" * 32, "g" * 64, "%D9%A3" * 3):
        assert (await client.get(f"{BASE}/search?q={nothing}")).json == {"items": []}, nothing


async def test_stats_add_up(client: Client, story: Story) -> None:
    stats = msgspec.convert((await client.get(BASE + "/stats")).json, views.StatsView)
    payments = (await client.get(BASE + "/payments?limit=100")).json["items"]
    assert (stats.questions, stats.answers, stats.payments) == (5, 3, len(payments))
    assert int(stats.paid_units) == sum(int(each["amount_units"]) for each in payments)
    assert (stats.records, stats.contributors) == (51, 3)
    assert int(stats.minted_units) > 0
    assert int(stats.supply_units) == int(stats.genesis_units) + int(stats.minted_units) - int(stats.burned_units)
    assert stats.conservation == views.ConservationView(height=story.height, is_ok=True, error="")
    days = msgspec.convert((await client.get(BASE + "/stats/days?days=2")).json, list[views.DayView])
    assert [each.day for each in days] == ["2027-01-15", "2027-01-14"]
    assert (days[0].transactions, days[0].paid_units) == (stats.transactions, stats.paid_units)
    assert days[0].blocks == story.height
    assert days[1].blocks == 0
    first = (await client.get(BASE + "/stats/days?days=366")).json
    assert len(first) == 366


async def test_whoever_asks_for_stats_at_once_shares_one_audit(client: Client, story: Story) -> None:
    audits = 0
    audit = client.node.replica.audit

    def counted() -> Audit:
        nonlocal audits
        audits += 1
        return audit()

    client.node.replica.audit = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(*(client.get(BASE + "/stats") for _ in range(5)))
    assert {each.json["conservation"]["height"] for each in answers} == {story.height}
    assert audits == 1


async def test_evidence_and_validators_are_observations_of_the_node(client: Client, story: Story) -> None:
    client.node.replica.on_evidence(equivocation(story.chain))
    shown = (await client.get(BASE + "/validators")).json
    assert shown == await client.call("validators")
