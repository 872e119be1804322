"""The explorer's routes about datanets, records, models, questions, answers and payments."""

from __future__ import annotations

from node.api import methods, present_data, requests, views, views_data
from node.api.pages import build_each, end_page, entries_of, need
from node.api.source import Source
from node.errors import RequestReason, RequestRejected
from node.index import Answer, Entry, Shelf, position_of, split_position
from node.modules.attributions import QUESTIONS, Attribute
from node.modules.datanets import CONTRIBUTIONS, DATANETS, RECORDS
from node.modules.models import MODELS
from node.modules.rewards import Paid
from node.primitives.codec import decode
from node.primitives.crypto import HASH_SIZE_BYTES
from node.types.transaction import decode_transaction

# Of an account.


async def list_account_payments(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views_data.PaymentView]:
    """Payments an account's records earned."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_ACCOUNT, methods.address_of(parameters.address))


async def list_account_records(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views_data.RecordView]:
    """Records an account offered."""
    return await _records(source, parameters, Shelf.RECORDS_OF_ACCOUNT, methods.address_of(parameters.address))


async def list_account_contributions(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views_data.ContributionView]:
    """Contributions of an account."""
    owner = methods.address_of(parameters.address)
    return await _contributions(source, parameters, Shelf.CONTRIBUTIONS_OF_ACCOUNT, owner)


async def list_account_models(source: Source, parameters: requests.AddressListing) -> views.Page[views_data.ModelView]:
    """Models an account registered or was handed."""
    return await _models(source, parameters, Shelf.MODELS_OF_OWNER, methods.address_of(parameters.address))


async def list_account_questions(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views_data.QuestionView]:
    """Questions of an account."""
    return await _questions(source, parameters, Shelf.QUESTIONS_OF_ASKER, methods.address_of(parameters.address))


# Datanets, records, models.


async def list_datanets(source: Source, parameters: requests.Listing) -> views.Page[views_data.DatanetView]:
    """Datanets."""
    entries, scope, end = entries_of(source, parameters, Shelf.DATANETS, b"")
    items = await build_each(entries, lambda entry: _datanet(source, entry.value))
    return end_page(parameters, scope, items, end)


def get_datanet(source: Source, parameters: requests.IdPath) -> views_data.DatanetView:
    """A datanet."""
    datanet_id = bytes.fromhex(parameters.id)
    need(DATANETS.get(source.replica.state, datanet_id), "datanet")
    return _datanet(source, datanet_id)


async def list_datanet_records(source: Source, parameters: requests.IdListing) -> views.Page[views_data.RecordView]:
    """Records that were offered to a datanet."""
    return await _records(source, parameters, Shelf.RECORDS_OF_DATANET, bytes.fromhex(parameters.id))


async def list_datanet_contributions(
    source: Source, parameters: requests.IdListing
) -> views.Page[views_data.ContributionView]:
    """Contributions to a datanet."""
    return await _contributions(source, parameters, Shelf.CONTRIBUTIONS_OF_DATANET, bytes.fromhex(parameters.id))


async def list_datanet_models(source: Source, parameters: requests.IdListing) -> views.Page[views_data.ModelView]:
    """Models that were trained on a datanet, retired ones included."""
    return await _models(source, parameters, Shelf.MODELS_OF_DATANET, bytes.fromhex(parameters.id))


def list_datanet_clusters(source: Source, parameters: requests.ClusterListing) -> views_data.ClustersView:
    """Clusters of a datanet's near-copies, and what the next grouping begins with."""
    datanet_id = bytes.fromhex(parameters.id)
    need(DATANETS.get(source.replica.state, datanet_id), "datanet")
    return present_data.clusters(source.replica.state, datanet_id, parameters.from_place, parameters.limit)


def get_contribution(source: Source, parameters: requests.IdPath) -> views_data.ContributionDetail:
    """A contribution with its records."""
    contribution_id = bytes.fromhex(parameters.id)
    known = need(CONTRIBUTIONS.get(source.replica.state, contribution_id), "contribution")
    return views_data.ContributionDetail(
        contribution=present_data.contribution(contribution_id, known), records=[each.hex() for each in known.records]
    )


def get_record(source: Source, parameters: requests.IdPath) -> views_data.ContentView:
    """A content and the records that are these bytes."""
    content_hash = bytes.fromhex(parameters.id)
    state, is_public = source.replica.state, source.replica.blobs.is_public(content_hash)
    shown = present_data.content(state, content_hash, source.index.datanets_of(content_hash), is_public=is_public)
    if not shown.records and not shown.uses and not shown.erased_height:
        raise RequestRejected(RequestReason.NOT_FOUND, "the ledger does not refer to this content")
    return shown


async def list_record_payments(source: Source, parameters: requests.IdListing) -> views.Page[views_data.PaymentView]:
    """Payments a record earned."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_RECORD, bytes.fromhex(parameters.id))


async def list_models(source: Source, parameters: requests.Listing) -> views.Page[views_data.ModelView]:
    """Models, retired ones included."""
    return await _models(source, parameters, Shelf.MODELS, b"")


def get_model(source: Source, parameters: requests.IdPath) -> views_data.ModelView:
    """A model."""
    model_id = bytes.fromhex(parameters.id)
    need(MODELS.get(source.replica.state, model_id), "model")
    return _model(source, model_id)


async def list_model_questions(source: Source, parameters: requests.IdListing) -> views.Page[views_data.QuestionView]:
    """Questions to a model."""
    return await _questions(source, parameters, Shelf.QUESTIONS_OF_MODEL, bytes.fromhex(parameters.id))


async def list_model_attributions(
    source: Source, parameters: requests.IdListing
) -> views.Page[views_data.AttributionView]:
    """Answers of a model."""
    return await _attributions(source, parameters, Shelf.ANSWERS_OF_MODEL, bytes.fromhex(parameters.id))


async def list_model_payments(source: Source, parameters: requests.IdListing) -> views.Page[views_data.PaymentView]:
    """Payments for a model's answers."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_MODEL, bytes.fromhex(parameters.id))


# Questions, answers, payments.


async def list_questions(source: Source, parameters: requests.Listing) -> views.Page[views_data.QuestionView]:
    """Questions."""
    return await _questions(source, parameters, Shelf.QUESTIONS, b"")


def get_question(source: Source, parameters: requests.IdPath) -> views_data.QuestionView:
    """A question."""
    question_id = bytes.fromhex(parameters.id)
    need(QUESTIONS.get(source.replica.state, question_id), "question")
    return _question(source, question_id)


async def list_attributions(source: Source, parameters: requests.Listing) -> views.Page[views_data.AttributionView]:
    """Answered questions."""
    return await _attributions(source, parameters, Shelf.ANSWERS, b"")


async def get_attribution(source: Source, parameters: requests.IdPath) -> views_data.AttributionDetail:
    """An answered question: who made the answer, how the fee was split, who was paid."""
    state, index, question_id = source.replica.state, source.index, bytes.fromhex(parameters.id)
    answer = need(index.answer(question_id), "answered question")
    height, place, _ = split_position(answer.position)
    stored = await methods.stored_block(source, height, None)
    claim = decode(Attribute, decode_transaction(stored.transactions[place]).payload)
    claimed = next(each for each in claim.answers if each.question == question_id)
    settled = index.settlement(question_id)
    datanet_id = MODELS.need(state, claim.model).datanet
    paid = _of_question(source, question_id)
    return views_data.AttributionDetail(
        attribution=present_data.attribution(state, answer, stored.header.time_ms),
        question=_question(source, question_id),
        credits=present_data.credits_of(state, datanet_id, claimed.credits),
        settlement=None if settled is None else present_data.settlement(settled),
        payments=[present_data.payment_of_entry(entry, stored.header.time_ms) for entry in paid],
    )


async def list_payments(source: Source, parameters: requests.Listing) -> views.Page[views_data.PaymentView]:
    """Payments to records."""
    entries, scope, end = entries_of(source, parameters, Shelf.PAYMENTS, b"")
    items = await build_each(
        entries, lambda entry: present_data.payment_of_entry(entry, _time_ms(source, entry.position))
    )
    return end_page(parameters, scope, items, end)


def get_payment(source: Source, parameters: requests.PaymentPath) -> views_data.PaymentWhy:
    """A payment and why: the numbers, the formula, and a sentence."""
    height, place, number = map(int, parameters.id.split("-"))
    is_possible = height < 2**48 and place < 2**16 and number < 2**16
    entry = source.index.payment(position_of(height, place, number)) if is_possible else None
    known = need(entry, "payment")
    paid = decode(Paid, known.value[HASH_SIZE_BYTES:])
    others = [decode(Paid, each.value[HASH_SIZE_BYTES:]) for each in _of_question(source, paid.question)]
    excess_sum = sum(each.excess for each in others)
    return present_data.payment_why(known, _time_ms(source, known.position), excess_sum)


# Helpers.


async def _payments(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.PaymentView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)

    def build(entry: Entry) -> views_data.PaymentView:
        known = need(source.index.payment(entry.position), "payment")
        return present_data.payment_of_entry(known, _time_ms(source, entry.position))

    return end_page(parameters, scope, await build_each(entries, build), end)


async def _records(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.RecordView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)
    state = source.replica.state

    def build(entry: Entry) -> views_data.RecordView:
        datanet_id, content = entry.value[:HASH_SIZE_BYTES], entry.value[HASH_SIZE_BYTES:]
        record = RECORDS.need(state, DATANETS.need(state, datanet_id).schema_id + content)
        return present_data.record(source.replica.state, content, record)

    return end_page(parameters, scope, await build_each(entries, build), end)


async def _contributions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.ContributionView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)
    state = source.replica.state
    items = await build_each(
        entries, lambda entry: present_data.contribution(entry.value, CONTRIBUTIONS.need(state, entry.value))
    )
    return end_page(parameters, scope, items, end)


async def _models(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.ModelView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)
    return end_page(parameters, scope, await build_each(entries, lambda entry: _model(source, entry.value)), end)


async def _questions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.QuestionView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)
    return end_page(parameters, scope, await build_each(entries, lambda entry: _question(source, entry.value)), end)


async def _attributions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views_data.AttributionView]:
    entries, scope, end = entries_of(source, parameters, shelf, owner)

    def build(entry: Entry) -> views_data.AttributionView:
        answer: Answer = need(source.index.answer(entry.value), "answer")
        return present_data.attribution(source.replica.state, answer, _time_ms(source, entry.position))

    return end_page(parameters, scope, await build_each(entries, build), end)


def _of_question(source: Source, question_id: bytes) -> list[Entry]:
    """Payments for a question, in order."""
    shelf, limit = Shelf.PAYMENTS_OF_QUESTION, requests.LARGEST_PAGE
    lines = source.index.page(shelf, question_id, None, limit, is_oldest_first=True)
    return [need(source.index.payment(line.position), "payment") for line in lines]


def _datanet(source: Source, datanet_id: bytes) -> views_data.DatanetView:
    state = source.replica.state
    return present_data.datanet(state, datanet_id, DATANETS.need(state, datanet_id))


def _model(source: Source, model_id: bytes) -> views_data.ModelView:
    state = source.replica.state
    return present_data.model(state, model_id, MODELS.need(state, model_id), source.next_height)


def _question(source: Source, question_id: bytes) -> views_data.QuestionView:
    state = source.replica.state
    return present_data.question(state, question_id, QUESTIONS.need(state, question_id))


def _time_ms(source: Source, position: bytes) -> int:
    entry = source.index.block(split_position(position)[0])
    assert entry is not None, "what is indexed stands in an indexed block"
    return entry.time_ms
