"""PyTorch's spellings: what scripts written for it ask for, and is said otherwise here, or not at all.

`methods.py` and `in_place.py` are Tensor's methods; everything else stands above Tensor: typed constructors,
`torch.autograd`, functions made of others, and switches that have nothing to switch here.
"""
