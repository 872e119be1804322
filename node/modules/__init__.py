"""One file per feature of the ledger: its transaction kinds, its tables, its rules."""
