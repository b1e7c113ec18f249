"""What to say of a name of PyTorch's that `lucid` itself does not have."""

from __future__ import annotations

import mlx.core as mx

_NO_SWITCH = "Outside lucid.nn.value_and_grad there are no gradients to switch off."
_ONE_MEMORY = "Nothing moves: a Mac's GPU is the default, and memory is shared."
_OTHER_NAMES = {
    "as_tensor": "lucid.tensor",
    "bernoulli": "mlx.core.random.bernoulli",
    "bmm": "mlx.core.matmul",
    "chunk": "mlx.core.split",
    "clamp": "mlx.core.clip",
    "float": "lucid.float32",
    "half": "lucid.float16",
    "long": "lucid.int64",
    "norm": "mlx.core.linalg.norm",
    "permute": "mlx.core.transpose",
    "rand_like": "lucid.rand, which takes a shape",
    "randn_like": "lucid.randn, which takes a shape",
    "randperm": "mlx.core.random.permutation",
    "unsqueeze": "mlx.core.expand_dims",
}
_INSTEAD = {
    "no_grad": _NO_SWITCH,
    "inference_mode": _NO_SWITCH,
    "enable_grad": _NO_SWITCH,
    "device": _ONE_MEMORY,
    "cuda": _ONE_MEMORY,
    "mps": _ONE_MEMORY,
    "backends": _ONE_MEMORY,
    "utils": "Batches may come from any iterator, PyTorch's DataLoader too.",
    "autocast": "There is no autocast: model.bfloat16() computes in half precision.",
    "amp": "There is no autocast: model.bfloat16() computes in half precision.",
}


def missing_name(name: str) -> str:
    """The message for an attribute that `lucid` lacks: what takes its place."""
    message = f"module 'lucid' has no attribute {name!r}."
    if name in _INSTEAD:
        return f"{message} {_INSTEAD[name]}"
    if name in _OTHER_NAMES:
        return f"{message} There is {_OTHER_NAMES[name]}."
    theirs = None if name.startswith("_") else getattr(mx, name, None)
    if callable(theirs) and not isinstance(theirs, type):
        return f"{message} There is mlx.core.{name}: tensors are MLX's arrays."
    return message


_OF_OPTIM = {
    "lr_scheduler": "A schedule is a function of the step, given as `learning_rate`: "
    "lucid.optim.cosine_decay and others.",
    "swa_utils": "lucid.optim.ExponentialMovingAverage averages weights.",
}


def missing_optimizer(name: str) -> str:
    """The message for an attribute that `lucid.optim` lacks."""
    message = f"module 'lucid.optim' has no attribute {name!r}."
    return f"{message} {_OF_OPTIM[name]}" if name in _OF_OPTIM else message
