"""A network of real processes on one machine: to try the node, to tell its story, to measure and to hurt it."""
