"""Peers: messages, frames, the handshake, gossip, and the only sockets between nodes."""
