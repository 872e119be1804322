"""Engine mlp/1: a small multi-layer perceptron in fixed point, attributed by projected gradients of its checkpoints.

`request` needs the standard library only; `attribute` is what validators run; `fit` trains; `reference` is all of it
in plain integers.
"""
