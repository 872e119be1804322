"""Engine spans/1: which records hold, word for word, the passages that a generated text is made of.

`request` and `tokens` need the standard library only; `attribute` is what validators run; `store` keeps suffix arrays
on disk; `explain` shows a result to people; `reference` is all of it in plain Python: read that first.
"""
