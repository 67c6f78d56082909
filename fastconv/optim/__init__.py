"""Optimizers change parameters by their gradients; `lr_scheduler` changes their learning rates.

Names, arguments and update rules are torch's. All of them have `step`, `zero_grad`, `lr`, groups of parameters with
options of their own, and `state_dict`/`load_state_dict`, after which a run goes on with the same bits.
"""

from fastconv.optim import lr_scheduler
from fastconv.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
