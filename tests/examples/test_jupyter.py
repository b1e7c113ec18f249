"""Lucid in a running Jupyter kernel, spoken to by the notebook's protocol."""

from __future__ import annotations

from collections.abc import Iterator
import json
import time
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # of the Jupyter client's own making
]

MODEL = """
import json
import lucid
from lucid import nn, optim
import mlx.core as mx

lucid.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.LazyConv3d(8, 3, padding=1), nn.ReLU())
        self.heads = nn.ModuleDict({"mask": nn.LazyConv3d(1, 1)})

    def forward(self, x):
        return self.heads["mask"](self.encoder(x))


model = Net()
heads = model.heads
x = lucid.randn(1, 2, 16, 16, 16)
optimizer = optim.Adam(learning_rate=1e-2)


def loss_fn(x):
    return model(x).square().mean()


def train_step(x):
    loss, gradients = nn.value_and_grad(model, loss_fn)(x)
    optimizer.update(model, gradients)
    return loss
"""
PLAIN = "step = train_step"
COMPILED = """
from functools import partial

nn.materialize(model, (1, 2, 16, 16, 16))
optimizer.init(model.trainable_parameters())
state = [model.state, optimizer.state]
step = partial(mx.compile, inputs=state, outputs=state)(train_step)
"""
TRAIN = """
while True:
    loss = step(x)
    mx.eval(loss, model.state, optimizer.state)
    print(loss.item())
"""
# What a usable model does: computes, learns on, saves and loads.
GO_ON = """
steps = []
for _ in range(20):
    loss = step(x)
    mx.eval(loss, model.state, optimizer.state)
    steps.append(loss.item())
saved = {name: array for name, array in model.state_dict().items()}
other = Net()
other.load_state_dict(saved)
print(json.dumps({
    "losses": steps,
    "lazy": nn.has_uninitialized_params(model),
    "same": mx.array_equal(other(x), model(x)).item(),
}))
"""


@pytest.fixture
def kernel() -> Iterator[tuple[Any, Any]]:
    """A kernel's manager and a client of it, the model defined."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=120)
    try:
        run(client, MODEL)
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: Any, code: str) -> list[dict[str, Any]]:
    """Run a cell to its end; the messages that it shows."""
    shown: list[dict[str, Any]] = []
    reply = client.execute_interactive(code, timeout=120, output_hook=shown.append)
    assert reply["content"]["status"] == "ok", reply["content"]
    return shown


def printed(messages: list[dict[str, Any]]) -> str:
    return "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")


@pytest.mark.parametrize("how", [PLAIN, COMPILED], ids=["plain", "compiled"])
def test_interrupting_a_cell_leaves_the_model_usable(kernel, how):
    manager, client = kernel
    run(client, how)
    before: list[float] = []
    for delay in (0.0, 0.3, 0.05):  # from the first step on, three times over
        # Otherwise the kernel drops what reaches it while it still handles the error.
        request = client.execute(TRAIN, stop_on_error=False)
        while True:
            message = client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "stream":
                before += map(float, message["content"]["text"].split())
                break
        time.sleep(delay)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=120)
        while reply["parent_header"].get("msg_id") != request:
            reply = client.get_shell_msg(timeout=120)
        assert reply["content"]["ename"] == "KeyboardInterrupt"
    after = json.loads(printed(run(client, GO_ON)))
    assert after["losses"][-1] < after["losses"][0] < before[0]
    assert after["same"]
    assert not after["lazy"]


def test_a_module_is_a_tree_and_in_text_what_pytorch_prints(kernel):
    _, client = kernel
    (result,) = (m for m in run(client, "model") if m["msg_type"] == "execute_result")
    shown = result["content"]["data"]
    assert shown["text/plain"].startswith("Net(\n  (encoder): Sequential(\n")
    assert "<details" in shown["text/html"]
    assert "2 lazy layers wait" in shown["text/html"]


def test_slices_are_a_picture_whether_or_not_pyplot_is_used(kernel):
    _, client = kernel
    for before in ("", "import matplotlib.pyplot as plt; plt.figure(); plt.close()"):
        run(client, before)
        shown = run(client, "lucid.plot.slices(x[0])")
        pictures = [m for m in shown if "image/png" in m["content"].get("data", {})]
        assert len(pictures) == 1


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nn.Laz", {"LazyConv3d", "LazyConvTranspose3d", "LazyBatchNorm3d"}),
        ("nn.functional.conv", {"conv3d", "conv_transpose3d"}),
        ("lucid.plot.", {"slices"}),
        ("lucid.met", {"metrics"}),
        ("model.", {"encoder", "heads", "state_dict", "named_parameters"}),
        ("model.enc", {"encoder"}),
        ("model.heads.ma", {"mask"}),
        ("model.heads.mask.wei", {"weight"}),
        ("model.encoder[0].kernel", {"kernel_size"}),
        ("model.heads['mask'].kernel", {"kernel_size"}),
        ("heads['", {"mask"}),
        ("nn.Conv3d(in_", {"in_channels="}),
    ],
)
def test_completion_offers_what_there_is(completer, typed, offered):
    reply = completer.complete(typed, reply=True, timeout=120)
    matches = {match.rpartition(".")[2] for match in reply["content"]["matches"]}
    assert offered <= matches
    if typed == "lucid.plot.":
        assert matches == offered, "nothing internal"


@pytest.fixture(scope="module")
def completer() -> Iterator[Any]:
    """A client of one kernel for all requests."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=120)
    try:
        run(client, MODEL)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
