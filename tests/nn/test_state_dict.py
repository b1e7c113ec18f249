"""`load_state_dict`: everything or nothing, and every mismatch in one error."""

import lucid
from lucid import nn
import mlx.core as mx
import numpy as np
import pytest


def make() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 1))


def values(model: nn.Module) -> dict[str, list]:
    return {name: array.tolist() for name, array in model.state_dict().items()}


def test_round_trip_returns_no_names():
    source, target = make(), make()
    result = target.load_state_dict(source.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    assert values(source) == values(target)


def test_numpy_arrays_load():
    source, target = make(), make()
    target.load_state_dict({k: np.array(v) for k, v in source.state_dict().items()})
    assert values(source) == values(target)


def test_loaded_arrays_are_not_the_state_dicts_own():
    state = make().state_dict()
    model = make()
    model.load_state_dict(state)
    nn.init.zeros_(model[0].weight)
    assert mx.abs(state["0.weight"]).sum() > 0


def test_every_mismatch_is_listed_and_nothing_changes():
    model = make()
    before = values(model)
    state = dict(make().state_dict())
    state["0.weight"] = mx.zeros((4, 3, 3, 3, 3))
    state["0.bias"] = mx.zeros((4,), mx.float16)
    state["2.bias"] = "text"
    del state["2.weight"]
    state["extra"] = mx.zeros((1,))
    with pytest.raises(nn.StateDictError) as caught:
        model.load_state_dict(state)
    text = str(caught.value)
    for part in (
        "0.weight: shape (4, 3, 3, 3, 3), expected (4, 2, 3, 3, 3)",
        "0.bias: dtype float16, expected float32",
        "2.bias: str is not a numeric array",
        "2.weight: missing",
        "extra: unexpected",
    ):
        assert part in text
    assert values(model) == before


def test_error_is_both_of_the_kinds_people_catch():
    for kind in (RuntimeError, ValueError):
        with pytest.raises(kind):
            make().load_state_dict({})


def test_not_strict_loads_what_fits_and_names_the_rest():
    model = make()
    weight = mx.ones((2, 4, 1, 1, 1))
    result = model.load_state_dict(
        {"2.weight": weight, "other": mx.ones(1)}, strict=False
    )
    assert result.missing_keys == ["0.weight", "0.bias", "2.bias"]
    assert result.unexpected_keys == ["other"]
    assert (model[2].weight == weight).all()


def test_not_strict_still_refuses_wrong_shapes():
    with pytest.raises(nn.StateDictError, match=r"2\.weight: shape"):
        make().load_state_dict({"2.weight": mx.ones((1,))}, strict=False)


def test_float64_arrays_are_a_mismatch_not_a_silent_cast():
    state = {k: np.array(v, np.float64) for k, v in make().state_dict().items()}
    with pytest.raises(nn.StateDictError, match="dtype float64, expected float32"):
        make().load_state_dict(state)


def test_names_must_be_strings():
    layer = nn.Conv3d(1, 1, 1)
    with pytest.raises(TypeError, match="`state_dict` has the name 1, no string"):
        layer.load_state_dict({1: mx.ones(2)})
    for weights in ({1: mx.ones(2)}, [(1, mx.ones(2))], [mx.ones(2)]):
        with pytest.raises(TypeError, match=r"`file_or_weights`.* must be a string"):
            layer.load_weights(weights)


def test_a_state_dict_must_be_a_mapping():
    with pytest.raises(TypeError, match="`state_dict`"):
        make().load_state_dict([("0.weight", mx.ones(1))])  # type: ignore[arg-type]


def test_frozen_stays_frozen_after_a_load():
    model = make()
    model.freeze()
    model.load_state_dict(make().state_dict())
    assert model[0].trainable_parameters() == {}


def test_lazy_layers_take_their_channels_from_the_weights():
    source = make()
    target = nn.Sequential(nn.LazyConv3d(4, 3), nn.ReLU(), nn.LazyConv3d(2, 1))
    key = lucid.get_rng_state()
    assert target.load_state_dict(source.state_dict()) == ([], [])
    assert [layer.in_channels for layer in (target[0], target[2])] == [2, 4]
    assert values(target) == values(source)
    assert (lucid.get_rng_state() == key).all(), "a complete load draws nothing"
    x = lucid.randn(1, 2, 4, 4, 4)
    assert (source(x) == target(x)).all()


def test_grouped_lazy_layer_multiplies_the_weights_channels():
    layer = nn.LazyConv3d(4, 3, groups=2)
    layer.load_state_dict(nn.Conv3d(6, 4, 3, groups=2).state_dict())
    assert layer.in_channels == 6


def test_weight_alone_materializes_and_draws_the_bias():
    layer = nn.LazyConv3d(4, 1)
    weight = mx.ones((4, 3, 1, 1, 1))
    assert layer.load_state_dict({"weight": weight}, strict=False) == (["bias"], [])
    assert layer.in_channels == 3
    assert (layer.weight == 1).all()
    assert layer.bias.shape == (4,)
    assert 0 < mx.abs(layer.bias).max() <= 3**-0.5


def test_bias_alone_is_kept_for_the_first_call():
    layer = nn.LazyConv3d(4, 1)
    bias = mx.arange(4).astype(mx.float32)
    assert layer.load_state_dict({"bias": bias}, strict=False) == (["weight"], [])
    assert layer.bias is None
    layer(lucid.zeros(1, 2, 2, 2, 2))
    assert (layer.bias == bias).all()


@pytest.mark.parametrize(
    "weight",
    [
        mx.zeros((5, 2, 3, 3, 3)),  # out_channels
        mx.zeros((4, 2, 3, 3, 2)),  # kernel_size
        mx.zeros((4, 2, 3, 3)),  # rank
        mx.zeros((4, 0, 3, 3, 3)),  # no channels
        mx.zeros((4, 2, 3, 3, 3), mx.float16),
    ],
)
def test_weights_of_another_layer_leave_it_lazy(weight):
    model = nn.Sequential(nn.LazyConv3d(2, 1), nn.LazyConv3d(4, 3))
    state = {"0.weight": mx.zeros((2, 1, 1, 1, 1)), "0.bias": mx.zeros((2,))}
    with pytest.raises(nn.StateDictError, match=r"1\.weight: (shape|dtype)"):
        model.load_state_dict(state | {"1.weight": weight, "1.bias": mx.zeros((4,))})
    assert [layer.in_channels for layer in model] == [None, None]
    assert nn.has_uninitialized_params(model)


def test_shared_lazy_layer_must_be_given_one_shape():
    shared = nn.LazyConv3d(2, 1, bias=False)
    model = nn.Sequential(shared, shared)
    two, three = mx.ones((2, 2, 1, 1, 1)), mx.ones((2, 3, 1, 1, 1))
    with pytest.raises(nn.StateDictError, match=r"1\.weight: shape"):
        model.load_state_dict({"0.weight": two, "1.weight": three})
    model.load_state_dict({"0.weight": two, "1.weight": two})
    assert shared.in_channels == 2


class Later(nn.Module):
    """A module whose second version counts."""

    optional_in_state_dict = ("count",)

    def __init__(self):
        super().__init__()
        self.weight = mx.ones(2)
        self.register_buffer("count", mx.array(7))


def test_buffers_of_younger_versions_may_be_missing():
    model = nn.Sequential(Later())
    assert model.load_state_dict({"0.weight": mx.zeros(2)}) == ([], [])
    assert model[0].count == 7
    model.load_state_dict({"0.weight": mx.zeros(2), "0.count": mx.array(9)})
    assert model[0].count == 9
    with pytest.raises(nn.StateDictError, match=r"0\.weight: missing"):
        model.load_state_dict({"0.count": mx.array(1)})
    assert "0.count" in model.state_dict()


def test_cast_takes_other_dtypes_of_a_kind():
    model, source = make().half(), make()
    state = source.state_dict()
    model.load_state_dict(state, cast=True)
    assert model[0].weight.dtype == mx.float16
    assert mx.array_equal(model[0].weight, state["0.weight"].astype(mx.float16))
    doubles = {k: np.array(v, np.float64) for k, v in state.items()}
    source.load_state_dict(doubles, cast=True)
    assert source[0].weight.dtype == mx.float32
    counter = nn.Sequential(Later())
    counter.load_state_dict(
        {"0.weight": mx.ones(2), "0.count": np.array(5, np.int64)}, cast=True
    )
    assert counter[0].count.dtype == mx.int32
    with pytest.raises(nn.StateDictError, match=r"0\.count: dtype float32"):
        counter.load_state_dict(
            {"0.weight": mx.ones(2), "0.count": mx.array(5.0)}, cast=True
        )


def test_assign_takes_arrays_and_their_dtypes():
    model = make()
    state = make().half().state_dict()
    model.load_state_dict(state, assign=True)
    assert model[0].weight is state["0.weight"]
    with pytest.raises(nn.StateDictError, match="dtype int32"):
        model.load_state_dict(
            {k: v.astype(mx.int32) for k, v in state.items()}, assign=True
        )


class FakeTensor:
    """What Lucid asks of PyTorch's tensors, without PyTorch."""

    def __init__(self, array, dtype="torch.float32"):
        self.array, self.dtype = array, dtype

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return FakeTensor(self.array)

    def numpy(self):
        if self.dtype != "torch.float32":
            raise TypeError(f"unsupported {self.dtype}")
        return self.array


def test_pytorchs_tensors_load_by_numpy():
    model = make()
    state = {k: FakeTensor(np.array(v)) for k, v in make().state_dict().items()}
    model.load_state_dict(state)
    assert mx.array_equal(model[0].weight, mx.array(state["0.weight"].array))
    halves = {k: FakeTensor(v.array, "torch.bfloat16") for k, v in state.items()}
    model.bfloat16().load_state_dict(halves)
    assert model[0].weight.dtype == mx.bfloat16
    state["0.bias"] = FakeTensor(np.zeros(4), "torch.quint8")
    with pytest.raises(nn.StateDictError, match=r"0\.bias: .*unsupported torch.quint8"):
        make().load_state_dict(state)
