"""Simplex consensus as a pure state machine: `step(now_ms, input) -> tuple[Effect, ...]`.

Standard library only. No clock, socket, thread, randomness, key or disk is in here: time arrives with inputs, the host
verifies signatures before input and signs on effect, and performs effects strictly in the order given.

Source: Chan and Pass, "Simplex Consensus: A Simple and Fast Consensus Protocol", TCC 2023, eprint 2023/463.
"""
