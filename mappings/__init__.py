"""The pure core: what a V1 turn means in each upstream's terms, and back. No clock, no I/O, no randomness."""
