"""What the tests stand on: a row for every op with its domain and reference (`rows`), Hypothesis strategies,
the naive engine, and the strict stand-in for CuPy (`strict`) with its memory, streams, graphs and kernels.
"""
