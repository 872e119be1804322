"""Everything that can be asked of an engine, of whichever engine, and everything that can be answered.

Standard library only, so that a node can price and name a request without numpy. A request knows its id, its cost in
multiply-accumulates and the names of the bytes it reads; a result knows its canonical bytes.
"""

from typing import TypeAlias

from attribution.head import request as head

REQUEST: TypeAlias = head.CertifyRequest | head.GateRequest | head.AttributeRequest
RESULT: TypeAlias = head.Certificate | head.GateResult | head.AttributeResult

TABLES_HASHES = {head.ENGINE_HEAD: bytes.fromhex(head.EXP_TABLE_SHA256)}
"""The constant tables each engine computes with: a chain's genesis names them."""
ENGINES = tuple(TABLES_HASHES)
"""Every engine by name and version."""
