"""Replays a payment from public API data alone: `python -m devnet.why URL PAYMENT`; status 1 where a number differs."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from typing import Any
from urllib.request import Request, urlopen


def get(url: str, path: str) -> Any:
    """What a node's explorer answers."""
    with urlopen(f"{url}/api/v1{path}", timeout=30) as answer:  # noqa: S310 (a node that the caller names)
        return json.load(answer)


def call(url: str, method: str) -> Any:
    """What a node's RPC answers."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (as above)
    with urlopen(request, timeout=30) as answer:  # noqa: S310 (as above)
        return json.load(answer)["result"]


def replay(url: str, payment_id: str) -> dict[str, tuple[int, int]]:
    """Each number of a payment as the node says it and as it is here, from the question's fee and its credits."""
    said = get(url, f"/payments/{payment_id}")["payment"]
    answer = get(url, f"/attributions/{said['question']}")
    order = get(url, f"/transactions/{answer['attribution']['transaction_id']}")
    parameters = call(url, "parameters")["parameters"]
    datanet = get(url, f"/models/{said['model']}")["datanet"]
    clip, fee = order["payload"]["terms"]["clip"], int(answer["question"]["fee_units"])
    links = []  # (leader, record, influence): clusters follow each other, the elder record first
    for credit in answer["credits"]:
        records = get(url, f"/records/{credit['record']}")["records"]
        leader = next(each["leader"] for each in records if each["datanet"] == datanet)
        links.append((leader, credit["record"], credit["influence"]))
    excess: dict[str, int] = {}
    senior: dict[str, str | None] = {}
    for _, cluster in groupby(links, key=lambda link: link[0]):
        before, elder = 0, None
        for _, record, influence in cluster:
            excess[record], senior[record] = min(influence, clip) - min(before, clip), elder
            before, elder = influence, record
    assert senior[said["record"]] == said["senior"], "another record reduced it"
    pool = fee * parameters["data_bps"] // 10_000
    weight = sum(excess.values()) + parameters["sigma"]
    e = excess[said["record"]]
    here = {
        "pool_units": pool,
        "excess": e,
        "weight": weight,
        "amount_units": pool * e // weight,
        "accrued_units": int(said["mint_pool_units"]) * e // weight,
    }
    return {name: (int(said[name]), value) for name, value in here.items()}


if __name__ == "__main__":
    numbers = replay(sys.argv[1].rstrip("/"), sys.argv[2])
    for name, (said, here) in numbers.items():
        print(f"{name:<14} {said:>16} {here:>16} {'same' if said == here else 'DIFFERENT'}")
    sys.exit(any(said != here for said, here in numbers.values()))
