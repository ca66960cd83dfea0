"""Optimisers and learning-rate schedules: PyTorch's names, defaults and numbers, in place on either array
library.
"""

from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adaptive import Adadelta, Adamax, NAdam, RAdam
from .lbfgs import LBFGS
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD
from .signs import ASGD, Rprop
