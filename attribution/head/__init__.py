"""Engine head/1: an encoder and an L2-regularised softmax head, every number of it exact.

`request` needs the standard library only; `attribute` is what validators run; `fit` trains; `reference` is all of it
in plain integers.
"""
