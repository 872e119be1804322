"""From transaction bytes to receipts and a state root."""
