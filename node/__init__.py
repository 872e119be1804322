"""The OpenLedger node: a shell in data order around two pure leaves, `consensus` and `attribution`."""
