"""Placed blocks made into something that runs."""
