"""Layers and losses; `nn.functional` has them as functions, `nn.init` has starting values."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..deprecation import warn_once
from ..dialect.absent import OUT_OF_SCOPE, absent
from . import functional, init, utils
from .activation import ELU, GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Softplus, Tanh
from .attention import Attention, AttentionDecoder, AttentionMemory, DecoderState
from .batchnorm import BatchNorm1d, Dropout1d, Dropout2d
from .bidirectional import Bidirectional
from .cell import Cell
from .cells import GatedCell as RNNCellBase
from .cells import GRUCell, LSTMCell, LSTMState, RNNCell
from .checkpoint import checkpoint
from .containers import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from .ctc import CTCHypothesis, ctc_beam, ctc_greedy, edit_distance
from .divergences import (
    CosineEmbeddingLoss,
    GaussianNLLLoss,
    HingeEmbeddingLoss,
    KLDivLoss,
    MarginRankingLoss,
    MultiLabelSoftMarginLoss,
    PoissonNLLLoss,
    SoftMarginLoss,
    TripletMarginLoss,
)
from .dropout import Dropout
from .embedding import Embedding
from .layers import GRU, LSTM, RNN
from .layers import StackedCells as RNNBase
from .linear import (
    Bilinear,
    CosineSimilarity,
    DataParallel,
    Flatten,
    Identity,
    Linear,
    PairwiseDistance,
    Unflatten,
)
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    CTCLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from .module import Module, Parameter
from .nonlinear import (
    CELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU6,
    SiLU,
    Softmin,
    Softshrink,
    Softsign,
    Tanhshrink,
    Threshold,
)
from .norm import LayerNorm, RMSNorm
from .pooling import AttentionPool, LastPool, MaxPool, MeanPool
from .recurrent import Recurrent
from .search import SearchResult, beam_search, greedy_search
from .state import detach, reset_rows, tbptt
from .stream import Stream
from .variants import LayerNormGRUCell, LayerNormLSTMCell, LayerNormRNNCell, PeepholeLSTMCell
from .wrappers import RecurrentDropout, WeightDrop, Wrapper, Zoneout

if TYPE_CHECKING:
    from . import amp

_FORMER_NAMES = {"Memory": "AttentionMemory", "Found": "SearchResult"}


def __getattr__(name: str) -> Any:
    if name in ("amp", "parameter"):  # when asked for: amp brings the optimisers along
        return import_module(f".{name}", __name__)
    if name in _FORMER_NAMES:
        new = _FORMER_NAMES[name]
        warn_once(
            "former names in nn", f"nn.{name} is called nn.{new} now; former names work for the time being"
        )
        return globals()[new]
    if name in OUT_OF_SCOPE:
        made = globals()[name] = absent(name, OUT_OF_SCOPE[name])
        return made
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
