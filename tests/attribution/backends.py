"""Which back end `matmul` takes where an engine names none: a sweep runs every engine on each of them."""

from __future__ import annotations

from attribution.exact import matmul
from attribution.products import Backend, product


def use(backend: Backend) -> None:
    """For the rest of this process."""
    for function in (matmul, product):
        defaults = function.__kwdefaults__
        assert defaults is not None
        defaults["backend"] = backend


def used() -> Backend:
    """The back end in use."""
    defaults = matmul.__kwdefaults__
    assert defaults is not None
    backend: Backend = defaults["backend"]
    return backend
