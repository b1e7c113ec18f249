"""A script as a user writes it: no type checker finds fault with Lucid in it.

`.ci/run` has pyright and mypy read it, both strictly.
"""

# pyright: strict

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import tempfile

import lucid
from lucid import nn, optim
from lucid.nn import functional as F
import mlx.core as mx


class Block(nn.Module):
    """Two convolutions beside a shortcut, and what else a module may hold."""

    def __init__(
        self, channels: int, padding_mode: lucid.PaddingMode = "zeros"
    ) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.LazyConv3d(channels, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.LazyConv3d(channels, 3, padding=1, padding_mode=padding_mode),
        )
        self.scale = nn.Parameter(lucid.ones(1))
        self.mean = nn.Buffer(lucid.zeros(1))
        self.register_buffer("steps", lucid.zeros(1, dtype="int32"), persistent=False)
        self.heads = nn.ModuleDict({"mask": nn.LazyConv3d(1, 1)})
        self.gains = nn.ParameterList([lucid.ones(1)])
        self.named = nn.ParameterDict({"bias": lucid.ones(1)})

    def forward(self, input: lucid.Tensor) -> lucid.Tensor:
        y: lucid.Tensor = self.conv(input)
        for gain in self.gains:
            y = y * gain
        for name, bias in self.named.items():
            y = y + bias if name.endswith("bias") else y * self.named[name]
        for head in self.heads.values():
            print(head)
        y = F.relu(y * self.scale + self.mean, inplace=True)
        mask: lucid.Tensor = self.heads["mask"](y)
        return F.pad(mask, (1, 1), mode="reflect")


def weights(model: nn.Module) -> Iterator[lucid.Tensor]:
    for name, array in model.named_parameters(prefix="model"):
        if name.endswith("weight"):
            yield array


def initialize(module: object) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def train(model: Block, volumes: list[lucid.Tensor]) -> float:
    def loss_fn(x: lucid.Tensor) -> lucid.Tensor:
        loss: lucid.Tensor = model(x)
        return loss.square().mean()

    optimizer = optim.AdamW(learning_rate=1e-3)
    step = nn.value_and_grad(model, loss_fn)
    last = 0.0
    for volume in volumes:
        loss, grads = step(volume)
        optimizer.update(model, grads)
        # MLX's own types are partial here.
        mx.eval(model.parameters(), optimizer.state)  # pyright: ignore[reportUnknownMemberType]
        last = float(loss.item())
    return last


def main() -> None:
    lucid.manual_seed(0)
    model = Block(4).apply(initialize).train()
    model = nn.materialize(model, (1, 2, 8, 8, 8)).float()
    print(train(model, [lucid.randn(1, 2, 8, 8, 8) for _ in range(2)]))
    print(sum(array.size for array in weights(model)))
    seen: list[lucid.Tensor] = []

    def hook(
        module: nn.Module, args: tuple[lucid.Tensor, ...], output: lucid.Tensor
    ) -> None:
        seen.append(output)

    with model.register_forward_hook(hook):
        half: lucid.Tensor = model.half().eval()(
            lucid.ones(1, 2, 8, 8, 8).astype(mx.float16)
        )
    print(half.shape, len(seen), len(list(model.children())))
    path = Path(tempfile.mkdtemp()) / "weights.npz"
    lucid.save(model.state_dict(), path)
    result: nn.IncompatibleKeys = model.load_state_dict(lucid.load(path), strict=True)
    print(result.missing_keys)
    table: lucid.Summary = lucid.summary(model, (1, 2, 8, 8, 8))
    print(table.parameters)
    layers = nn.Sequential(nn.Conv3d(1, 2, 3, padding_mode="reflect"), nn.Tanh())
    layers.append(nn.Conv3d(2, 1, 1)).insert(1, nn.LeakyReLU(0.1))
    print((layers + nn.Sequential(nn.Sigmoid())).to("cpu"), layers[0])


if __name__ == "__main__":
    main()
