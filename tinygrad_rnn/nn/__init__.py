"""Layers and losses."""

from . import init, utils
from .module import Module, Parameter
