"""What people and programs ask a node: JSON-RPC, the explorer's REST API, live events."""
