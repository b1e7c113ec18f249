"""Every cell of the table in docs/state_dicts.md."""

from collections.abc import Callable
from pathlib import Path

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "state_dicts.md"
COLUMNS = ("eager, strict", "eager, not strict", "lazy, strict", "lazy, not strict")


def table() -> dict[str, list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert tuple(rows[0][1:]) == COLUMNS
    return {row[0]: row[1:] for row in rows[2:]}


TABLE = table()
SOURCES: dict[str, Callable[[], nn.Conv3d]] = {
    "eager": lambda: nn.Conv3d(4, 6, 3, groups=2),
    "lazy": lambda: nn.materialize(nn.LazyConv3d(6, 3, groups=2), (1, 4, 3, 3, 3)),
}
STATES: dict[str, Callable[[dict], dict]] = {
    "everything": dict,
    "the weight only": lambda s: {"weight": s["weight"]},
    "the bias only": lambda s: {"bias": s["bias"]},
    "nothing": lambda s: {},
    "everything and another name": lambda s: s | {"other": mx.ones((1,))},
    "a weight of 5 output channels": lambda s: s | {"weight": s["weight"][:5]},
    "a weight of another kernel size": lambda s: s | {"weight": s["weight"][..., :2]},
    "a weight of 4 axes": lambda s: s | {"weight": s["weight"][0]},
    "a weight of no input channels": lambda s: s | {"weight": s["weight"][:, :0]},
    "a weight of another dtype": lambda s: (
        s | {"weight": s["weight"].astype(mx.float16)}
    ),
    "a bias of another length": lambda s: s | {"bias": s["bias"][:5]},
    "something that is no array": lambda s: s | {"bias": "text"},
    "a weight of 1 group and 4 channels": lambda s: (
        s | {"weight": nn.Conv3d(4, 6, 3).weight}
    ),
}


class Nested(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.blocks = [nn.ModuleDict({"conv": nn.Sequential(nn.ReLU(), layer)})]


# How a layer stands in a model, and the prefix of its names then.
PLACES: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "alone": (lambda layer: layer, ""),
    "sequential": (lambda layer: nn.Sequential(layer, nn.ReLU()), "0."),
    "nested": (Nested, "blocks.0.conv.1."),
    "mlx": (lambda layer: nn.Sequential(mlx.nn.Sequential(layer)), "0.layers.0."),
}


def test_the_table_and_the_tests_have_the_same_rows():
    assert list(TABLE) == list(STATES)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", STATES)
def test_cell(row, column, source, place):
    outcome = TABLE[row][COLUMNS.index(column)]
    is_lazy, strict = column.startswith("lazy"), column.endswith(", strict")
    layer = nn.LazyConv3d(6, 3, groups=2) if is_lazy else nn.Conv3d(4, 6, 3, groups=2)
    wrap, prefix = PLACES[place]
    model = wrap(layer)
    given = STATES[row](SOURCES[source]().state_dict())
    state = {prefix + name: value for name, value in given.items()}
    before = {name: layer[name] for name in ("weight", "bias")}
    key = lucid.get_rng_state()

    if outcome == "error":
        with pytest.raises(nn.StateDictError, match="nothing was loaded"):
            model.load_state_dict(state, strict=strict)
        assert all(layer[name] is array for name, array in before.items())
        assert layer.has_uninitialized_params() if is_lazy else True
    else:
        missing, unexpected = model.load_state_dict(state, strict=strict)
        names = {"weight", "bias"}
        assert set(missing) == {prefix + name for name in names - given.keys()}
        assert set(unexpected) == {prefix + name for name in given.keys() - names}
        after = lucid.get_rng_state()
        check(outcome, layer, given, before)
        lucid.set_rng_state(after)
    drew = not (lucid.get_rng_state() == key).all()
    assert drew == (outcome == "loads, draws the bias")


def check(outcome: str, layer, given: dict, before: dict) -> None:
    if outcome.startswith("stays lazy"):
        assert layer.weight is layer.bias is layer.in_channels is None
        layer(lucid.zeros(1, 4, 3, 3, 3))
        if outcome == "stays lazy, keeps the bias":
            assert (layer.bias == given["bias"]).all()
        return
    assert layer.in_channels == (8 if outcome == "loads 8 channels" else 4)
    for name in ("weight", "bias"):
        if name in given:
            assert (layer[name] == given[name]).all()
        elif outcome == "loads, draws the bias":
            assert layer.bias.shape == (6,)
            assert mx.abs(layer.bias).max() > 0
        else:
            assert layer[name] is before[name]


def test_a_mixed_model_loads_from_another_mix():
    def mix(*kinds):
        return nn.Sequential(*(SOURCES[kind]() for kind in kinds))

    fresh = nn.Sequential(nn.LazyConv3d(6, 3, groups=2), nn.Conv3d(4, 6, 3, groups=2))
    state = mix("eager", "lazy").state_dict()
    assert fresh.load_state_dict(state) == ([], [])
    loaded = fresh.state_dict()
    assert all((loaded[name] == array).all() for name, array in state.items())


def test_a_load_of_groups_it_cannot_tell_shows_at_the_first_call():
    layer = nn.LazyConv3d(6, 3, groups=2)
    layer.load_state_dict(nn.Conv3d(4, 6, 3).state_dict())
    with pytest.raises(ValueError, match=r"4 channels.*takes 8"):
        layer(lucid.zeros(1, 4, 3, 3, 3))
