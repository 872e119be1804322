"""Crash consistency on the real disk format: one real node in a process of its own, killed wherever it persists."""
