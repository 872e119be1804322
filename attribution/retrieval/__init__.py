"""Engine retrieval/1: answers made by retrieval, and the credit of the records that were retrieved, in integers.

`request` needs the standard library only; `attribute` is what validators run; `reference` is all of it in plain
integers.
"""
