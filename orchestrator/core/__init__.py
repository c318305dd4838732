"""The pure core: decide and evolve, no I/O, no clock, no randomness."""
