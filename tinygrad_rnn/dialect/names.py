"""Where the package's less usual names live: they are imported when they are asked for."""

from __future__ import annotations

__all__ = ["MODULES", "NAMES"]

# submodules of the package that are PyTorch's places
MODULES = frozenset(
    [
        "accelerator",
        "amp",
        "autograd",
        "backends",
        "distributions",
        "jit",
        "linalg",
        "multiprocessing",
        "onnx",
        "random",
    ]
)

_OPS = """
    absolute=abs acos addcdiv addcmul arccos=acos arcsin=asin arctan=atan argwhere=nonzero asin atan atan2
    atleast_1d atleast_2d atleast_3d bincount bitwise_and bitwise_or bitwise_xor broadcast_tensors ceil
    column_stack concatenate=concat celu cosh count_nonzero cummax cummin cumprod diag diag_embed diagonal
    diff dstack exp2 fix=trunc frac ger=outer greater=gt greater_equal=ge hstack index_add index_copy
    index_fill inner=matmul isin kthvalue layer_norm lerp less=lt less_equal=le log10 log2 logcumsumexp
    logical_xor logit masked_scatter median meshgrid moveaxis=movedim movedim nan_to_num negative=neg
    not_equal=ne prelu quantile ravel=flatten roll row_stack=vstack scatter scatter_add searchsorted selu
    sgn=sign sinh swapdims=swapaxes take_along_dim tan tensor_split trace tril triu trunc unflatten unique
    unique_consecutive vstack
"""
_FUNCTIONS = """
    aminmax asarray baddbmm bitwise_not bucketize cartesian_prod cdist chain_matmul clamp_max
    clamp_min cosine_similarity deg2rad diagflat dist dropout empty_strided erfc fliplr flipud fmax
    fmin fmod histc hsplit hypot is_complex is_nonzero is_same_size is_signed isneginf isposinf
    logspace mode nanmean nansum pairwise_distance poisson promote_types rad2deg randint_like range
    relu_ result_type rms_norm rot90 rsub scalar_tensor sigmoid_ std_mean take tanh_ tensordot
    tril_indices triu_indices typename var_mean vdot vsplit xlogy
"""
_SWITCHES = """
    are_deterministic_algorithms_enabled channels_last compile contiguous_format default_generator finfo
    get_default_device get_float32_matmul_precision get_num_interop_threads get_num_threads iinfo
    initial_seed preserve_format seed strided set_default_device set_deterministic_debug_mode
    set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_printoptions
    set_warn_always use_deterministic_algorithms
"""
_TYPES = """
    BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor IntTensor LongTensor ShortTensor
    set_default_tensor_type
"""


def _table() -> dict[str, tuple[str, str]]:
    """Each name with its module, and what it is called there."""
    found = {}
    for module, text in (
        ("ops", _OPS), ("dialect.functions", _FUNCTIONS), ("dialect.switches", _SWITCHES),
        ("dialect.types", _TYPES),
    ):  # fmt: skip
        for word in text.split():
            name, _, there = word.partition("=")
            found[name] = (module, there or name)
    return found


NAMES = {
    **_table(),
    "autocast": ("dialect.amp", "autocast"),
    "GradScaler": ("dialect.amp", "GradScaler"),
    "ctc_loss": ("nn.functional", "ctc_loss"),
    "batch_norm": ("nn.batchnorm", "batch_norm"),
    "set_anomaly_enabled": ("dialect.autograd", "set_detect_anomaly"),
}
