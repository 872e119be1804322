"""Faults on a devnet of real processes, under load, and what they cost."""
