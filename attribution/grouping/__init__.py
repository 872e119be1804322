"""Grouping: which records of a datanet are near-copies of which, as every validator computes it for the ledger."""
