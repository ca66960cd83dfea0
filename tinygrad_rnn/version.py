"""The version, apart, so that it can be read without importing the package's dependencies."""

__version__ = "0.1.0"
