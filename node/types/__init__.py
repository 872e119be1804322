"""What travels and what is hashed: frozen wire objects."""
