"""One rank of `test_distributed.py`: does a job and prints what came of it as JSON."""

import json
import sys

import lucid
from lucid import distributed, nn, optim
import mlx.core as mx
import mlx.nn

GROUP = mx.distributed.init()
SHAPE = (1, 2, 4, 4, 4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyConv3d(4, 3, padding=1), nn.ReLU(), nn.LazyConv3d(1, 1)
        )
        self.register_buffer("seen_by", mx.array([float(GROUP.rank())]))

    def forward(self, x):
        return self.layers(x)


def numbers(model: nn.Module) -> list[float]:
    return [n for a in model.state_dict().values() for n in a.flatten().tolist()]


def share(shape=SHAPE) -> dict:
    lucid.manual_seed(100 + GROUP.rank())
    model = Net()
    try:
        distributed.materialize(model, shape)
    except (RuntimeError, ValueError) as error:
        return {"error": str(error), "lazy": nn.has_uninitialized_params(model)}
    return {
        "state": numbers(model.layers),
        "buffer": model.seen_by.tolist(),
        "next_draw": mx.random.uniform().item(),
    }


def train() -> dict:
    data = mx.random.normal((4, *SHAPE[1:]), key=mx.random.key(3))
    target = data.sum(1, keepdims=True)
    lucid.manual_seed(7 if GROUP.rank() == 0 else 70)
    model, optimizer = distributed.materialize(Net(), SHAPE), optim.Adam(1e-2)
    own = slice(GROUP.rank(), None, GROUP.size())
    step = nn.value_and_grad(model, lambda x, y: (model(x) - y).square().mean())
    losses = []
    for _ in range(8):
        loss, grads = step(data[own], target[own])
        optimizer.update(model, mlx.nn.average_gradients(grads))
        mx.eval(model.state, optimizer.state)
        losses.append(mx.distributed.all_sum(loss).item() / GROUP.size())
    return {"losses": losses, "state": numbers(model)}


JOBS = {
    "share": share,
    "train": train,
    "bad_shape": lambda: share(SHAPE if GROUP.rank() == 0 else SHAPE[:3]),
    "other_channels": lambda: share((1, 2 + GROUP.rank(), 4, 4, 4)),
}
if __name__ == "__main__":
    print(json.dumps({"rank": GROUP.rank(), **JOBS[sys.argv[1]]()}), flush=True)
