"""Files: checkpoints as .npz without objects, weights as safetensors, and PyTorch's layouts of both."""

from .checkpoint import load, save
from .safetensors import load_safetensors, save_safetensors
from .torch import load_torch, to_torch

__all__ = ["load", "load_safetensors", "load_torch", "save", "save_safetensors", "to_torch"]
