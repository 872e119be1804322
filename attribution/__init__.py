"""Which records of a datanet made an answer, and how much: exact integer attribution, usable without a chain.

`record`, `request`, `content` and `errors` need the standard library only; each engine is a package of its own.
"""
