"""Blocks into blocks, or into where the values of a block lie."""
