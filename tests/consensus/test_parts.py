"""Quorum, leaders, votes, certificates, evidence: the small machines under the state machine."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.certificate import is_well_formed, make_certificate
from consensus.evidence import Evidence, find_conflict
from consensus.leader import leader_cycle, leader_of
from consensus.quorum import Quorum, is_quorum_power, is_tolerable_power
from consensus.types import Statement, Validator, ValidatorSet, VoteKind
from consensus.votes import VoteTally
from tests.consensus.build import SET, A, B, C, D, block, certificate, finalize, identity, notarize, nullify, vote

B1, B2, B3 = block("1"), block("2"), block("3")


def set_of(*powers: int) -> ValidatorSet:
    members = [Validator(id=identity(f"m{index}"), power=power) for index, power in enumerate(powers)]
    return ValidatorSet(validators=tuple(sorted(members, key=lambda member: member.id)))


@pytest.mark.parametrize(
    ("power", "total", "is_quorum"),
    [(3, 4, True), (2, 4, False), (2, 3, False), (3, 3, True), (5, 7, True), (4, 6, False)],
)
def test_quorum_is_more_than_two_thirds(power, total, is_quorum):
    assert is_quorum_power(power, total) is is_quorum


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_two_quorums_share_more_than_what_may_be_byzantine(total, left, right):
    left, right = min(left, total), min(right, total)
    if is_quorum_power(left, total) and is_quorum_power(right, total):
        assert not is_tolerable_power(left + right - total, total)


def test_set_that_is_unsorted_double_or_too_powerful_is_refused():
    members = SET.validators
    for wrong in (members[::-1], (members[0], members[0]), (Validator(id=identity("x"), power=10_001),)):
        with pytest.raises(ValueError, match=r"validators are distinct|total voting power"):
            ValidatorSet(validators=wrong)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_each_leads_in_proportion_to_its_power_and_no_prefix_strays_by_more_than_a_turn(powers):
    validators = set_of(*powers)
    cycle = leader_cycle(validators)
    turns = Counter(cycle)
    total = sum(powers)
    for member in validators.validators:
        assert turns[member.id] * total == member.power * len(cycle)
    for length in range(1, len(cycle) + 1):
        prefix = Counter(cycle[:length])
        for member in validators.validators:
            assert abs(prefix[member.id] - length * member.power / total) < len(powers)


def test_equal_powers_lead_in_order_of_ids_and_views_wrap_around():
    cycle = leader_cycle(SET)
    assert cycle == tuple(member.id for member in SET.validators)
    assert [leader_of(cycle, view) for view in (1, 4, 5)] == [cycle[0], cycle[3], cycle[0]]


def test_heavy_validator_is_spread_evenly():
    validators = set_of(5, 1, 1)
    heavy = next(member.id for member in validators.validators if member.power == 5)
    assert [leader == heavy for leader in leader_cycle(validators)] == [True, True, False, True, False, True, True]


def test_conflicting_votes_of_one_validator_each_count_for_their_block_and_make_evidence_once():
    tally = VoteTally(Quorum(SET))
    first, second = vote(A, notarize(1, B1)), vote(A, notarize(1, B2))
    assert tally.add(first) == (True, None)
    is_new, evidence = tally.add(second)
    assert is_new
    assert evidence == find_conflict(first, second)
    assert tally.add(second) == (False, None)
    for other in (B, C):
        tally.add(vote(other, notarize(1, B2)))
    made = tally.certificate_for(notarize(1, B2))
    assert made is not None
    assert [entry.validator for entry in made.signatures] == sorted((A, B, C))
    assert tally.certificate_for(notarize(1, B1)) is None


def test_third_block_of_an_equivocator_is_not_kept():
    tally = VoteTally(Quorum(SET))
    assert [tally.add(vote(A, notarize(1, each)))[0] for each in (B1, B2, B3)] == [True, True, False]
    assert len(tally.votes_of(A)) == 2


def test_certificate_lists_distinct_signers_in_order():
    made = make_certificate(nullify(1), {D: b"d" * 64, A: b"a" * 64, B: b"b" * 64})
    assert [entry.validator for entry in made.signatures] == sorted((A, B, D))
    assert is_well_formed(made, Quorum(SET))


@pytest.mark.parametrize(
    "signers", [(A, B), (A, B, B), (A, B, identity("stranger"))], ids=["no quorum", "twice", "stranger"]
)
def test_certificate_without_a_quorum_of_distinct_members_is_not_well_formed(signers):
    assert not is_well_formed(certificate(nullify(1), *signers), Quorum(SET))


def test_unsorted_certificate_is_not_well_formed():
    made = certificate(nullify(1), A, B, C)
    shuffled = type(made)(statement=made.statement, signatures=made.signatures[::-1])
    assert not is_well_formed(shuffled, Quorum(SET))


def test_evidence_has_one_canonical_order():
    one, other = vote(A, finalize(3, B1)), vote(A, nullify(3))
    assert find_conflict(one, other) == find_conflict(other, one) == Evidence(first=other, second=one)


def test_votes_of_different_validators_epochs_or_views_are_no_evidence():
    base = vote(A, notarize(1, B1))
    others = (vote(B, notarize(1, B2)), vote(A, notarize(2, B2)), vote(A, notarize(1, B2, epoch=2)))
    assert [find_conflict(base, other) for other in others] == [None, None, None]


def test_every_pair_of_statements_in_a_view_is_evidence_or_not_as_the_rule_says():
    statements = [notarize(1, B1), notarize(1, B2), nullify(1), finalize(1, B1), finalize(1, B2)]
    found = {
        (left.kind.name, right.kind.name, left.block_id == right.block_id)
        for left, right in itertools.permutations(statements, 2)
        if find_conflict(vote(A, left), vote(A, right)) is not None
    }
    assert found == {
        ("NOTARIZE", "NOTARIZE", False),
        ("FINALIZE", "FINALIZE", False),
        ("NULLIFY", "FINALIZE", False),
        ("FINALIZE", "NULLIFY", False),
    }


def test_nullify_that_names_a_block_is_refused():
    with pytest.raises(ValueError, match="a nullify names no block"):
        Statement(kind=VoteKind.NULLIFY, epoch=1, view=1, block_id=B1)
