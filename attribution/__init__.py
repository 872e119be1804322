"""Which records of a datanet made an answer, and how much: exact integer attribution, usable without a chain.

`record`, `request` and `errors` need the standard library only; `attribute` is what validators run; `fit` trains.
"""
