"""Makes docs/names.md: PyTorch's names that scripts on recurrent nets use, and what becomes of each here.

`python -m tests.dialect.names_table` writes the file; a test says when it is out of date. Whether a name
is there is asked of the code; the lists below are the names that are asked for.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from textwrap import fill

import tinygrad_rnn
from tinygrad_rnn.dialect.absent import OUT_OF_SCOPE, out_of_scope

from .test_api import NAMES

FILE = Path(__file__).parents[2] / "docs" / "names.md"

# read, and without effect here
NO_OPS = {
    "torch": """
        compile set_printoptions set_num_interop_threads set_flush_denormal set_warn_always contiguous_format
        preserve_format channels_last strided
    """,
    "torch.jit": "script trace ignore unused export script_method is_scripting ScriptModule",
    "torch.backends": "cudnn mps mkldnn openmp",
    "torch.amp": "autocast custom_fwd custom_bwd",
    "torch.cuda": """
        set_device init ipc_collect reset_peak_memory_stats device stream amp max_memory_allocated
    """,
    "Tensor": "pin_memory share_memory_ is_pinned is_shared",
    "nn.Module": "compile share_memory to_empty",
    "nn": "DataParallel",
    "optim": "",
}
MORE = {
    "torch": """
        FloatTensor DoubleTensor HalfTensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor
        absolute acos addcdiv addcmul addmm aminmax argwhere asarray asin atan atan2 atleast_1d atleast_2d
        atleast_3d autocast baddbmm bincount bitwise_and bitwise_not bitwise_or broadcast_tensors bucketize
        cartesian_prod cdist ceil clamp_max clamp_min column_stack concatenate cosh cosine_similarity
        count_nonzero ctc_loss cummax cummin cumprod deg2rad diag diag_embed diagonal diff dist dropout dstack
        erfc exp2 finfo fliplr flipud fmod frac ger get_default_device get_num_threads greater hstack hypot
        iinfo index_add index_copy index_fill initial_seed inner isin kthvalue layer_norm lerp less log10 log2
        logcumsumexp logical_xor logit logspace masked_scatter median meshgrid mode movedim nan_to_num nanmean
        nansum negative not_equal pairwise_distance poisson prelu promote_types quantile randint_like range
        ravel result_type roll rot90 rsub scatter scatter_add searchsorted seed selu set_default_device
        set_default_tensor_type set_float32_matmul_precision set_num_threads sinh std_mean take take_along_dim
        tan tensor_split tensordot trace tril tril_indices triu triu_indices trunc typename unflatten unique
        unique_consecutive use_deterministic_algorithms var_mean vdot vstack xlogy
        autograd backends accelerator amp jit onnx linalg distributions multiprocessing random version
        bfloat16 complex64 fft stft istft hann_window sparse_coo_tensor quantize_per_tensor distributed
        hub func svd qr inverse det cholesky lgamma digamma erfinv cross kron block_diag renorm as_strided
    """,
    "torch.autograd": """
        Variable Function grad backward gradcheck gradgradcheck detect_anomaly set_detect_anomaly no_grad
        enable_grad set_grad_enabled inference_mode profiler functional forward_ad graph
    """,
    "Tensor": """
        new register_hook register_post_accumulate_grad_hook retains_grad data_ptr stride storage_offset
        get_device is_cpu is_sparse is_same_size itemsize take scatter scatter_add index_add index_copy
        index_fill index_put masked_scatter unfold unflatten roll tril triu diag diagonal trace median
        kthvalue quantile cumprod cummax cummin diff unique unique_consecutive bincount count_nonzero
        ceil trunc frac atan log2 log10 lerp addcmul addcdiv addmm baddbmm movedim tensor_split clamp_min
        clamp_max bernoulli dist nansum nan_to_num logical_xor bitwise_and prelu logit
        addcmul_ addcdiv_ lerp_ pow_ remainder_ neg_ abs_ exp_ log_ sqrt_ rsqrt_ reciprocal_ square_ floor_
        ceil_ round_ trunc_ tanh_ sigmoid_ relu_ sin_ cos_ clamp_min_ clamp_max_ masked_scatter_ scatter_add_
        index_fill_ index_copy_ index_add_ index_put_ fill_diagonal_ tril_ triu_ bernoulli_ exponential_
        random_ unsqueeze_ squeeze_ t_ transpose_ swapaxes_ resize_ resize_as_ set_ apply_ addmm_ cumsum_
        map_ storage to_sparse bfloat16 as_strided
    """,
    "nn": """
        BatchNorm1d Dropout1d Dropout2d RMSNorm Bilinear Unflatten ParameterDict CosineSimilarity
        PairwiseDistance DataParallel RNNBase RNNCellBase CTCLoss KLDivLoss GaussianNLLLoss
        PoissonNLLLoss CosineEmbeddingLoss MarginRankingLoss HingeEmbeddingLoss SoftMarginLoss
        MultiLabelSoftMarginLoss TripletMarginLoss LogSigmoid SiLU Mish Hardtanh ReLU6 SELU CELU GLU
        PReLU Softsign Softshrink Hardshrink Tanhshrink Hardsigmoid Hardswish Threshold Softmin
        Transformer TransformerEncoder TransformerEncoderLayer MultiheadAttention Conv1d Conv2d MaxPool1d
        AdaptiveAvgPool1d EmbeddingBag AdaptiveLogSoftmaxWithLoss GroupNorm MultiMarginLoss RReLU Softmax2d
        AlphaDropout
    """,
    "nn.Module": """
        register_forward_hook register_forward_pre_hook register_full_backward_hook
        register_full_backward_pre_hook register_backward_hook register_state_dict_pre_hook
        register_state_dict_post_hook register_load_state_dict_pre_hook register_load_state_dict_post_hook
        get_parameter get_submodule get_buffer set_submodule get_extra_state set_extra_state type share_memory
        to_empty compile
    """,
    "nn.functional": """
        ctc_loss logsigmoid silu mish hardtanh relu6 selu celu glu prelu softsign softshrink hardshrink
        tanhshrink hardsigmoid hardswish threshold softmin gumbel_softmax kl_div gaussian_nll_loss
        poisson_nll_loss cosine_embedding_loss margin_ranking_loss hinge_embedding_loss soft_margin_loss
        multilabel_soft_margin_loss triplet_margin_loss pairwise_distance batch_norm dropout1d dropout2d
        rms_norm relu_ leaky_relu_ elu_ conv1d max_pool1d avg_pool1d adaptive_avg_pool1d interpolate
        scaled_dot_product_attention multi_head_attention_forward embedding_bag rrelu multi_margin_loss
    """,
    "nn.init": "trunc_normal_ eye_ sparse_ dirac_ uniform normal constant xavier_uniform orthogonal",
    "nn.utils": """
        weight_norm remove_weight_norm parametrizations clip_grad clip_grad_norm get_total_norm spectral_norm
    """,
    "optim": "Adadelta Adamax NAdam RAdam Rprop ASGD SparseAdam Adafactor Muon swa_utils",
    "optim.Optimizer": """
        register_step_pre_hook register_step_post_hook register_state_dict_pre_hook
        register_state_dict_post_hook register_load_state_dict_pre_hook register_load_state_dict_post_hook
    """,
    "optim.lr_scheduler": """
        CyclicLR CosineAnnealingWarmRestarts MultiplicativeLR PolynomialLR ChainedScheduler
    """,
    "torch.jit": "script trace ignore unused export script_method is_scripting ScriptModule save load",
    "torch.backends": "cudnn cuda mps mkldnn openmp",
    "torch.amp": "autocast GradScaler custom_fwd custom_bwd",
    "torch.cuda": """
        FloatTensor LongTensor current_device get_device_name get_device_properties get_device_capability
        memory_allocated max_memory_allocated memory_reserved memory_summary mem_get_info empty_cache
        synchronize set_device reset_peak_memory_stats ipc_collect manual_seed_all is_bf16_supported amp
        device stream init Stream Event nccl
    """,
}
TITLES = [
    "torch", "Tensor", "torch.autograd", "nn", "nn.Module", "nn.functional", "nn.init", "nn.utils",
    "nn.utils.rnn", "optim", "optim.Optimizer", "optim.lr_scheduler", "utils.data", "torch.cuda",
    "torch.amp", "torch.jit", "torch.backends",
]  # fmt: skip
HEAD = """# PyTorch's names

What becomes of the names that scripts on recurrent nets ask PyTorch for, with
`import tinygrad_rnn as torch`. *There*: values and gradients are PyTorch's, where the README's
table of differences says nothing else. *No effect*: read, and there is nothing to choose by it
here. *Out of scope*: not here; a name in italics can be imported, and raises NotImplementedError
when it is called.

Written by `python -m tests.dialect.names_table`, which asks the code.
"""


def find(where):
    """What a title means in
    the

    package."""
    found = tinygrad_rnn
    for part in where.removeprefix("torch").strip(".").split("."):
        if part and inspect.ismodule(found) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part) if part else found
    return found


def rows(where):
    """(there, no effect, out of scope) of the names below
    a

    title."""
    old = {"torch": "", "torch.cuda": "cuda"}.get(where, where)
    asked = sorted(
        {*NAMES.get(old, "").split(), *MORE.get(where, "").split()}, key=lambda name: (name.lower(), name)
    )
    none = set(NO_OPS.get(where, "").split())
    found, place = ([], [], []), find(where)
    for name in sorted(asked, key=lambda name: (name.lower(), name)):
        if not hasattr(place, name):
            found[2].append(f"`{name}`")
        elif (where == "nn" and name in OUT_OF_SCOPE) or (where == "nn.functional" and out_of_scope(name)):
            found[2].append(f"*`{name}`*")
        else:
            found[1 if name in none else 0].append(f"`{name}`")
    return found


def text():
    """The
    whole

    page."""
    parts = [HEAD]
    for where in TITLES:
        parts.append(f"## `{where}`\n")
        for title, names in zip(("There", "No effect", "Out of scope"), rows(where), strict=True):
            if names:
                parts.append(
                    fill(f"{title} ({len(names)}): {' '.join(names)}", 120, break_on_hyphens=False) + "\n"
                )
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
