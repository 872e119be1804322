"""Everything that can be asked of an engine, of whichever engine, and everything that can be answered.

Standard library only, so that a node can price and name a request without numpy. A request knows its id, its cost in
multiply-accumulates, the names of the bytes it reads, and which of these only its subject needs: a model's files, the
leaders of clusters, which a runner may have kept prepared. A result knows its canonical bytes.
"""

from typing import TypeAlias

from attribution.content import EXP_TABLE_SHA256
from attribution.grouping.request import GroupRequest, GroupResult
from attribution.head import request as head
from attribution.mlp import request as mlp
from attribution.retrieval import request as retrieval
from attribution.spans import request as spans

REQUEST: TypeAlias = (
    head.HeadRequest
    | GroupRequest
    | mlp.MlpCertifyRequest
    | mlp.MlpAttributeRequest
    | retrieval.RetrievalRequest
    | spans.SpansRequest
)
RESULT: TypeAlias = head.HeadResult | GroupResult | mlp.MlpCertificate | retrieval.RetrievalResult | spans.SpansResult

TABLES_HASHES = {
    head.ENGINE_HEAD: bytes.fromhex(EXP_TABLE_SHA256),
    mlp.ENGINE_MLP: bytes.fromhex(EXP_TABLE_SHA256),
    spans.ENGINE_SPANS: bytes.fromhex(spans.TABLES_SHA256),
}
"""The constant tables each engine computes with: a chain's genesis names them."""
ENGINES = tuple(TABLES_HASHES)
"""Every engine by name and version."""
