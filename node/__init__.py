"""The OpenLedger node: a shell in data order around two pure leaves, `consensus` and `attribution`."""

__version__ = "0.1.0"
