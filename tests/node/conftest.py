"""Settings of the ledger's random tests: a busy machine is slow, not wrong."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ledger", deadline=None, print_blob=True)
settings.load_profile("ledger")
