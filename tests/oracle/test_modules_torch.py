"""Modules and containers beside PyTorch's: the same names, order, keys and errors.

Each program builds a model with either library's `nn` and says what it saw.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from lucid import nn as lucid_nn
import mlx.core as mx
import pytest
import torch


class Library:
    """What differs between the two: how an array is made."""

    def __init__(self, nn: Any, ones: Callable[..., Any]):
        self.nn, self.ones = nn, ones
        self.Parameter = nn.Parameter

    def conv(self, i: int = 1, o: int = 1) -> Any:
        return self.nn.Conv3d(i, o, 1)


LIBRARIES = (
    Library(lucid_nn, lambda *shape: mx.ones(shape)),
    Library(torch.nn, torch.ones),
)


def names(pairs: Any) -> list[str]:
    return [name for name, _ in pairs]


def shown(model: Any) -> dict[str, Any]:
    """All that both libraries say of a model, in names and numbers."""
    return {
        "state": list(model.state_dict()),
        "parameters": names(model.named_parameters()),
        "all parameters": names(model.named_parameters(remove_duplicate=False)),
        "own": names(model.named_parameters(recurse=False)),
        "buffers": names(model.named_buffers()),
        "modules": names(model.named_modules()),
        "all modules": names(model.named_modules(remove_duplicate=False)),
        "prefixed": names(model.named_parameters(prefix="net")),
        "children": names(model.named_children()),
        "kinds": [type(child).__name__ for child in model.children()],
        "modes": [module.training for module in model.modules()],
    }


def net(lib: Library) -> Any:
    return lib.nn.Sequential(lib.conv(), lib.nn.ReLU(), lib.conv())


def block(lib: Library) -> Any:
    class Block(lib.nn.Sequential):
        def __init__(self):
            super().__init__()
            self.conv = lib.conv()
            self.act = lib.nn.ReLU()

    return Block()


def mixed(lib: Library) -> Any:
    class Mixed(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_parameter("late", None)
            self.head = lib.conv()
            self.gain = lib.Parameter(lib.ones(1))
            self.register_buffer("mean", lib.ones(2))
            self.register_buffer("scratch", lib.ones(2), persistent=False)
            self.register_buffer("empty", None)
            self.blocks = lib.nn.ModuleList([net(lib), block(lib)])
            self.heads = lib.nn.ModuleDict({"b": lib.conv(), "a": lib.nn.ReLU()})
            self.scales = lib.nn.ParameterList([lib.Parameter(lib.ones(1))])
            self.again = self.head
            self.late = lib.Parameter(lib.ones(3))
            self.missing = None

        def forward(self, x):
            return x

    return Mixed()


def changed(change: Callable[[Library, Any], Any], make=net) -> Callable[..., Any]:
    def program(lib: Library) -> Any:
        model = make(lib)
        change(lib, model)
        return model

    return program


def tied(lib: Library) -> Any:
    model = lib.nn.Sequential(lib.conv(), lib.conv())
    model[1].weight = model[0].weight
    return model


def untied(lib: Library) -> Any:
    model = tied(lib)
    model[1].weight = lib.Parameter(lib.ones(1, 1, 1, 1, 1))
    return model


def shared(lib: Library) -> Any:
    conv, act = lib.conv(), lib.nn.ReLU()
    return lib.nn.Sequential(conv, act, conv, act)


def refilled(lib: Library) -> Any:
    model = mixed(lib)
    model.gain, model.mean = None, None
    model.empty, model.mean = lib.ones(1), lib.ones(1)
    model.gain = lib.Parameter(lib.ones(1))
    return model


MODELS: dict[str, Callable[[Library], Any]] = {
    "sequential": net,
    "subclass": block,
    "mixed": mixed,
    "tied": tied,
    "untied": untied,
    "shared": shared,
    "refilled": refilled,
    "named": lambda lib: lib.nn.Sequential(
        OrderedDict([("b", lib.conv()), ("a", lib.nn.ReLU())])
    ),
    "assigned later": changed(lambda lib, m: setattr(m, "head", lib.conv())),
    "add_module": changed(lambda lib, m: m.add_module("7", lib.conv())),
    "add_module over one": changed(lambda lib, m: m.add_module("1", lib.conv())),
    "register_module": changed(lambda lib, m: m.register_module("x", lib.conv())),
    "append": changed(lambda lib, m: m.append(lib.conv())),
    "extend": changed(lambda lib, m: m.extend([lib.conv(), lib.nn.Tanh()])),
    "insert": changed(lambda lib, m: m.insert(1, lib.conv())),
    "insert before the last": changed(lambda lib, m: m.insert(-1, lib.nn.Tanh())),
    "insert at the end": changed(lambda lib, m: m.insert(3, lib.nn.Tanh())),
    "pop": changed(lambda lib, m: m.pop(0)),
    "del": changed(lambda lib, m: m.__delitem__(0)),
    "del slice": changed(lambda lib, m: m.__delitem__(slice(1, None))),
    "del named": changed(lambda lib, m: m.__delitem__(0), block),
    "delattr": changed(lambda lib, m: delattr(m, "conv"), block),
    "replace": changed(lambda lib, m: m.__setitem__(1, lib.conv())),
    "slice": lambda lib: net(lib)[1:],
    "step": lambda lib: net(lib)[::2],
    "add": lambda lib: net(lib) + lib.nn.Sequential(lib.conv()),
    "multiply": lambda lib: net(lib) * 2,
    "multiply from the left": lambda lib: 2 * net(lib),
    "in-place multiply": lambda lib: net(lib).__imul__(3),
    "in-place add": lambda lib: net(lib).__iadd__(lib.nn.Sequential(lib.conv())),
    "children of one": lambda lib: lib.nn.Sequential(*list(net(lib).children())[:-1]),
    "list": lambda lib: lib.nn.ModuleList([lib.conv(), lib.nn.ReLU()]),
    "list slice": lambda lib: lib.nn.ModuleList([lib.conv(), lib.conv()])[1:],
    "list add": lambda lib: (
        lib.nn.ModuleList([lib.conv()]) + lib.nn.ModuleList([lib.conv()])
    ),
    "list insert": changed(
        lambda lib, m: m.insert(0, lib.conv()),
        lambda lib: lib.nn.ModuleList([lib.nn.ReLU()]),
    ),
    "list pop": changed(
        lambda lib, m: m.pop(0),
        lambda lib: lib.nn.ModuleList([lib.nn.ReLU(), lib.conv()]),
    ),
    "dict of pairs": lambda lib: lib.nn.ModuleDict([("b", lib.conv())]),
    "dict update": changed(
        lambda lib, m: m.update([("c", lib.conv()), ("b", lib.nn.ReLU())]),
        lambda lib: lib.nn.ModuleDict({"b": lib.conv()}),
    ),
    "dict pop": changed(
        lambda lib, m: m.pop("b"),
        lambda lib: lib.nn.ModuleDict({"b": lib.conv(), "a": lib.conv()}),
    ),
    "parameter list": changed(
        lambda lib, m: m.append(lib.Parameter(lib.ones(1))),
        lambda lib: lib.nn.ParameterList([lib.Parameter(lib.ones(2))]),
    ),
    "parameter dict": changed(
        lambda lib, m: m.update({"c": lib.Parameter(lib.ones(1))}),
        lambda lib: lib.nn.ParameterDict({"b": lib.Parameter(lib.ones(2))}),
    ),
    "set_submodule": changed(lambda lib, m: m.set_submodule("1", lib.conv())),
    "set_submodule deep": changed(
        lambda lib, m: m.set_submodule("blocks.1.conv", lib.nn.Tanh()), mixed
    ),
    "set_submodule new": changed(
        lambda lib, m: m.set_submodule("extra", lib.nn.Tanh()), mixed
    ),
    "module to None": changed(lambda lib, m: m.add_module("head", None), mixed),
    "eval": changed(lambda lib, m: m.eval(), mixed),
    "buffer": changed(
        lambda lib, m: setattr(m, "count", lib.nn.Buffer(lib.ones(1))), mixed
    ),
    "hidden buffer": changed(
        lambda lib, m: setattr(
            m, "count", lib.nn.Buffer(lib.ones(1), persistent=False)
        ),
        mixed,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_looks_as_pytorchs(name):
    ours, theirs = (shown(MODELS[name](lib)) for lib in LIBRARIES)
    assert ours == theirs


def module_with(lib: Library, **attributes: Any) -> Any:
    model = lib.nn.Module()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


ERRORS: dict[str, Callable[[Library], Any]] = {
    "call a list": lambda lib: lib.nn.ModuleList([lib.nn.ReLU()])(lib.ones(1)),
    "call a dict": lambda lib: lib.nn.ModuleDict()(lib.ones(1)),
    "call without forward": lambda lib: lib.nn.Module()(lib.ones(1)),
    "train": lambda lib: lib.nn.ReLU().train("invalid"),
    "add_module int": lambda lib: net(lib).add_module(1, lib.nn.ReLU()),
    "add_module dot": lambda lib: lib.nn.Module().add_module("a.b", lib.nn.ReLU()),
    "add_module empty": lambda lib: lib.nn.Module().add_module("", lib.nn.ReLU()),
    "add_module taken": lambda lib: module_with(lib, a=1).add_module("a", net(lib)),
    "add_module method": lambda lib: net(lib).add_module("forward", lib.nn.ReLU()),
    "add_module array": lambda lib: lib.nn.Module().add_module("a", lib.ones(1)),
    "named method": lambda lib: lib.nn.Sequential(OrderedDict(append=lib.nn.ReLU())),
    "buffer name": lambda lib: lib.nn.Module().register_buffer(1, lib.ones(1)),
    "buffer dot": lambda lib: lib.nn.Module().register_buffer("a.b", lib.ones(1)),
    "buffer empty": lambda lib: lib.nn.Module().register_buffer("", lib.ones(1)),
    "buffer taken": lambda lib: module_with(lib, a=1).register_buffer("a", lib.ones(1)),
    "buffer value": lambda lib: lib.nn.Module().register_buffer("a", 1.0),
    "parameter name": lambda lib: lib.nn.Module().register_parameter(1, None),
    "parameter dot": lambda lib: lib.nn.Module().register_parameter("a.b", None),
    "parameter taken": lambda lib: module_with(lib, a=1).register_parameter("a", None),
    "parameter value": lambda lib: lib.nn.Module().register_parameter("a", 1.0),
    "get_submodule": lambda lib: net(lib).get_submodule("0.none"),
    "get_submodule array": lambda lib: net(lib).get_submodule("0.weight"),
    "get_parameter": lambda lib: net(lib).get_parameter("0.none"),
    "get_parameter module": lambda lib: net(lib).get_parameter("0"),
    "get_buffer": lambda lib: net(lib).get_buffer("0.weight"),
    "set_submodule empty": lambda lib: net(lib).set_submodule("", lib.nn.ReLU()),
    "set_submodule array": lambda lib: net(lib).set_submodule("0", lib.ones(1)),
    "set_submodule strict": lambda lib: net(lib).set_submodule("x", net(lib), True),
    "set_submodule parent": lambda lib: net(lib).set_submodule("9.x", net(lib)),
    "index": lambda lib: net(lib)[3],
    "insert": lambda lib: net(lib).insert(4, lib.nn.ReLU()),
    "multiply float": lambda lib: net(lib) * 1.5,
    "multiply zero": lambda lib: net(lib) * 0,
    "list of int": lambda lib: lib.nn.ModuleList(5),
    "list extend": lambda lib: lib.nn.ModuleList().extend(5),
    "dict of ints": lambda lib: lib.nn.ModuleDict([5]),
    "dict of triples": lambda lib: lib.nn.ModuleDict([("a", "b", "c")]),
    "dict key": lambda lib: lib.nn.ModuleDict({"a.b": lib.nn.ReLU()}),
    "dict value": lambda lib: lib.nn.ModuleDict({"a": 1}),
    "dict pop": lambda lib: lib.nn.ModuleDict().pop("a"),
    "missing": lambda lib: net(lib).nothing,
    "delete": lambda lib: delattr(net(lib), "nothing"),
    "load missing": lambda lib: net(lib).load_state_dict({}),
    "load type": lambda lib: net(lib).load_state_dict([1]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_pytorch_refuses_is_refused_alike(name):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever it is
        ERRORS[name](LIBRARIES[1])
    with pytest.raises(theirs.type):
        ERRORS[name](LIBRARIES[0])


@pytest.mark.parametrize(
    "prefix", ["", "module."], ids=["plain", "of DistributedDataParallel"]
)
def test_pytorchs_state_dict_loads_without_numpy_in_between(prefix):
    torch.manual_seed(0)
    ours, theirs = (net(lib) for lib in LIBRARIES)
    state = {prefix + name: value for name, value in theirs.state_dict().items()}
    if prefix:
        with pytest.raises(lucid_nn.StateDictError, match="begin with 'module\\.'"):
            ours.load_state_dict(state)
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    ours.load_state_dict(state)
    ours.load_state_dict(dict(theirs.named_parameters()))  # which require gradients
    for name, array in ours.state_dict().items():
        assert array.tolist() == state[name].tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_pytorchs_dtypes_are_kept(dtype):
    ours, theirs = (net(lib) for lib in LIBRARIES)
    state = theirs.to(getattr(torch, dtype)).state_dict()
    with pytest.raises(lucid_nn.StateDictError, match=f"dtype {dtype}"):
        ours.load_state_dict(state)
    ours.load_state_dict(state, cast=True)
    assert ours[0].weight.dtype == mx.float32
    assert ours[0].weight.item() == pytest.approx(state["0.weight"].item(), 1e-6)
    if dtype != "float64":
        ours.load_state_dict(state, assign=True)
        assert str(ours[0].weight.dtype) == f"mlx.core.{dtype}"


def test_tensors_without_numbers_are_named():
    state = net(LIBRARIES[1]).state_dict()
    state["0.weight"] = state["0.weight"].to("meta")
    state["0.bias"] = torch.ones(1).to_sparse()
    with pytest.raises(lucid_nn.StateDictError) as caught:
        net(LIBRARIES[0]).load_state_dict(state)
    for name in ("0.weight", "0.bias"):
        assert f"{name}: Tensor is not a numeric array" in str(caught.value)


def test_train_is_overridden_as_in_pytorch():
    def modes(lib: Library) -> list[bool]:
        class Frozen(lib.nn.Sequential):
            def train(self, mode=True):
                return super().train(False)

        model = lib.nn.Sequential(Frozen(lib.nn.ReLU()), lib.nn.ReLU())
        return [module.training for module in model.train().modules()]

    assert modes(LIBRARIES[0]) == modes(LIBRARIES[1])


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_weights_equal_pytorchs(groups):
    for shape in [(4, 2, 3), (4, 6, 2, 3), (6, 2, 3, 1, 4)]:
        ours = lucid_nn.init.dirac_(mx.ones(shape), groups)
        theirs = torch.nn.init.dirac_(torch.ones(shape), groups)
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", ["linear", "conv_transpose3d", "leaky_relu", "selu"])
def test_gains_equal_pytorchs(name):
    ours, theirs = (lib.nn.init.calculate_gain(name) for lib in LIBRARIES)
    assert ours == pytest.approx(theirs, abs=0)


def test_hooks_are_called_as_pytorchs():
    def events(lib: Library) -> list[Any]:
        seen: list[Any] = []

        class Add(lib.nn.Module):
            def forward(self, input, other=1):
                return input + other

        model = lib.nn.Sequential(Add(), Add())
        for name, prepend in (("a", False), ("b", True)):
            for kind in ("forward_pre", "forward"):
                register = getattr(model[0], f"register_{kind}_hook")
                register(
                    lambda m, *given, name=name, kind=kind: seen.append(
                        (name, kind, len(given), type(given[0]).__name__)
                    ),
                    prepend=prepend,
                    with_kwargs=name == "b",
                )
        handle = model[1].register_forward_hook(lambda m, args, output: output * 10)
        model[1].register_forward_pre_hook(lambda m, args: args[0] + 5)
        seen.append(model(lib.ones(1)).item())
        handle.remove()
        seen.append(model(lib.ones(1)).item())
        return seen

    assert events(LIBRARIES[0]) == events(LIBRARIES[1])
