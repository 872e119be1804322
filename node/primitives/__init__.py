"""Amounts, canonical bytes, hashes, signatures, addresses, Merkle roots: nothing here knows what a chain is."""
