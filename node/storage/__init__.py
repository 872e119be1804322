"""What stands on disk: key-value store, blocks, blobs, the write-ahead log."""
