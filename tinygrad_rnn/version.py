"""The version, apart, so that it can be read without importing the package's dependencies."""

__version__ = "0.1.0"
cuda = None  # the CUDA that the package was built for, which scripts ask for: it is not built for any
