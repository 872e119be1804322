"""The ledger's state: typed tables, a journaled view over them, and the Merkle root that commits to them."""
