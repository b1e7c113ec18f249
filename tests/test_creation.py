"""Making tensors: NumPy's values, MLX's random numbers, errors that name the size."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import lucid
from lucid import _types
import mlx.core as mx
import numpy as np
import pytest

Maker = Callable[..., mx.array]

SIZED_NAMES = ("zeros", "ones", "empty", "rand", "randn")
SIZED = {name: getattr(lucid, name) for name in SIZED_NAMES}
# Every function that takes a shape.
SHAPED: dict[str, Maker] = {
    **SIZED,
    "full": lambda size: lucid.full(size, 1.5),
    "randint": lambda size: lucid.randint(0, 9, size),
}
# Functions that take a length, and what they call it.
COUNTED: dict[str, Maker] = {"n": lucid.eye, "steps": partial(lucid.linspace, 0, 1)}
# Every function that takes `dtype` and `device`.
PLACED: dict[str, Maker] = {
    **{name: partial(maker, 2, 3) for name, maker in SIZED.items()},
    "full": partial(lucid.full, (2,), 1),
    "arange": partial(lucid.arange, 3),
    "linspace": partial(lucid.linspace, 0, 1, 3),
    "eye": partial(lucid.eye, 2),
    "randint": partial(lucid.randint, 0, 2, (3,)),
    "tensor": partial(lucid.tensor, [1, 0]),
    "zeros_like": lambda **kwargs: lucid.zeros_like(mx.ones(2), **kwargs),
    "ones_like": lambda **kwargs: lucid.ones_like(mx.ones(2), **kwargs),
}
ANY_DTYPE = ("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "tensor")
SIZE_ERRORS: list[tuple[Any, type[Exception]]] = [
    (-1, ValueError),
    *((size, ValueError) for size in (2**31, 2**62, 2**63, 2**64, 10**30)),
    *((size, TypeError) for size in (2.0, True, "3", b"3", np.float32(2), [[2], 3])),
]
VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LAYOUTS = {
    "C order": VOLUME,
    "Fortran order": np.asfortranarray(VOLUME),
    "transposed and strided": VOLUME.transpose(2, 0, 1)[::2],
    "flipped": VOLUME[:, ::-1],
    "big-endian": VOLUME.astype(">i2"),
    "broadcast and read-only": np.broadcast_to(VOLUME[:1], (3, 3, 4)),
    "0-d": np.array(2, np.int8),
    "empty": VOLUME[:0],
    "bool": VOLUME > 3,
}


def assert_same(got: mx.array, want: Any):
    want = np.asarray(want)
    assert _types.dtype_name(got.dtype) == want.dtype.name
    np.testing.assert_array_equal(np.array(got), want)


@pytest.mark.parametrize("size", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_sizes_are_separate_or_a_tuple_or_a_list(size: Any):
    for form in (size, (size,), (list(size),), tuple(map(np.int64, size))):
        assert_same(lucid.zeros(*form), np.zeros(size, np.float32))
        assert_same(lucid.ones(*form), np.ones(size, np.float32))
        assert {make(*form).shape for make in SIZED.values()} == {size}


@pytest.mark.parametrize("dtype", sorted(_types.DTYPES))
@pytest.mark.parametrize("name", ANY_DTYPE)
def test_every_dtype_is_made(name: str, dtype: str):
    assert PLACED[name](dtype=dtype, device="cpu").dtype == _types.DTYPES[dtype]


@pytest.mark.parametrize("make", [lucid.rand, lucid.randn])
def test_random_numbers_come_in_the_three_floating_dtypes_only(make: Maker):
    for dtype in _types.FLOAT_DTYPES:
        assert make(2, dtype=dtype).dtype == dtype
    for dtype in ("float64", "int32", "bool", "complex64"):
        with pytest.raises(TypeError, match=rf"`dtype` \(={dtype}\)"):
            make(2, dtype=dtype)


@pytest.mark.parametrize("name", sorted(PLACED))
def test_every_function_takes_a_device_and_refuses_what_is_none(name: str):
    assert PLACED[name](device="cpu").shape == PLACED[name]().shape
    with pytest.raises(ValueError, match="`device`"):
        PLACED[name](device="tpu")
    with pytest.raises(TypeError, match="`device`"):
        PLACED[name](device=3)
    with pytest.raises(TypeError, match="`dtype`"):
        PLACED[name](dtype="float31")


@pytest.mark.parametrize(("size", "error"), SIZE_ERRORS, ids=repr)
def test_a_bad_size_is_refused_by_name(size: Any, error: Any):
    for make in SHAPED.values():
        for form in (size, (2, size)):
            with pytest.raises(error, match="`size`"):
                make(form)
    for name, make in COUNTED.items():
        with pytest.raises(error, match=f"`{name}`"):
            make(size)


def test_products_and_ranges_beyond_the_machine_are_refused():
    for make in SHAPED.values():
        with pytest.raises(ValueError, match="`size`"):
            make((2**20, 2**20, 2**20))
    with pytest.raises(ValueError, match="`n`"):
        lucid.eye(2**30)
    for too_many in ((0, 1e300), (2**45,), (0, 1e300, 1e-300)):
        with pytest.raises(ValueError, match="`end`"):
            lucid.arange(*too_many)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(True, "bool"), (2**31 - 1, "int32"), (0.1, "float32"), (1 + 2j, "complex64")],
)
def test_full_and_tensor_keep_the_kind_of_a_value(value: Any, dtype: str):
    assert_same(lucid.full((2, 3), value), np.full((2, 3), value, dtype))
    assert_same(lucid.full(2, value), np.full(2, value, dtype))
    assert_same(lucid.tensor([[value], [value]]), np.full((2, 1), value, dtype))
    assert_same(lucid.tensor(value), np.array(value, dtype))


def test_every_digit_that_the_dtype_holds_is_kept():
    assert lucid.tensor([0.1], dtype="float64", device="cpu").item() == 0.1
    assert lucid.full(1, 2**53 + 1, dtype="int64").item() == 2**53 + 1
    assert lucid.full(1, 0.1, dtype="float64", device="cpu").item() == 0.1


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**70])
def test_full_refuses_what_its_dtype_cannot_hold(value: int):
    with pytest.raises(ValueError, match=r"overflow|fill_value"):
        lucid.full(2, value)


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool", "float32"])
def test_likes_keep_shape_and_dtype(dtype: str):
    source = mx.zeros((2, 0, 3), _types.DTYPES[dtype])
    assert_same(lucid.zeros_like(source), np.zeros((2, 0, 3), dtype))
    assert_same(lucid.ones_like(source), np.ones((2, 0, 3), dtype))


@pytest.mark.parametrize(
    "arguments", [(5,), (2, 8), (2, 8, 3), (5, 0, -2), (0, 5, -1), (-3,), (0, 9, 3)]
)
def test_arange_of_ints_is_numpys(arguments: Any):
    assert_same(lucid.arange(*arguments), np.arange(*arguments, dtype=np.int32))
    want = np.arange(*arguments, dtype=np.float16)
    assert_same(lucid.arange(*arguments, dtype="float16"), want)


def test_arange_takes_numpys_numbers():
    assert_same(lucid.arange(np.int64(1), np.uint8(3)), np.array([1, 2], np.int32))
    assert lucid.arange(np.float32(0), np.float64(1), 0.5).tolist() == [0, 0.5]


@pytest.mark.parametrize("arguments", [(2.5,), (0, 1, 0.1), (1.0, 0, -0.25), (0.5, 4)])
def test_arange_of_floats_is_numpys_to_rounding(arguments: Any):
    got = np.array(lucid.arange(*arguments))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.arange(*arguments), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("start", [2**31 - 2, 2**31, 2**40, -(2**31) - 2])
def test_arange_beyond_int32_is_refused_unless_the_dtype_is_wider(start: int):
    got = lucid.arange(start, start + 4, dtype="int64").tolist()
    assert got == list(range(start, start + 4))
    with pytest.raises(ValueError, match="int32"):
        lucid.arange(start, start + 4)


@pytest.mark.parametrize(
    "end_and_step", [(np.nan, 1), (np.inf, 1), (2, np.inf), (2, 0)]
)
def test_arange_refuses_what_has_no_end(end_and_step: Any):
    with pytest.raises(ValueError, match=r"finite|`step`"):
        lucid.arange(0, *end_and_step)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 100])
def test_linspace_is_numpys_with_both_ends(steps: int):
    got = np.array(lucid.linspace(-1, 2.5, steps))
    np.testing.assert_allclose(got, np.linspace(-1, 2.5, steps), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(0,), (1,), (4,), (2, 3), (3, 2), (0, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_eye_is_numpys(shape: tuple[int, ...], dtype: str):
    assert_same(lucid.eye(*shape, dtype=dtype), np.eye(*shape, dtype=dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [lucid.from_numpy, lucid.tensor])
def test_numpy_arrays_of_every_layout_keep_values_and_dtype(layout: str, make: Maker):
    array = LAYOUTS[layout]
    assert_same(make(array), array.astype(array.dtype.newbyteorder("=")))


def test_numpys_float64_becomes_a_float32_copy():
    array = np.array([0.1, 2])
    made = lucid.stack([lucid.tensor(array), lucid.from_numpy(array)])
    array[:] = 7
    assert_same(made, np.array([[0.1, 2]] * 2, np.float32))


@pytest.mark.parametrize("make", [lucid.from_numpy, lucid.tensor])
def test_what_is_no_number_is_refused(make: Maker):
    for data in ("abc", None, object(), [[1, 2], [3]], np.array("a"), np.array([None])):
        with pytest.raises((TypeError, ValueError), match=r"."):
            make(data)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack_are_numpys(dim: int):
    a, b = np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)
    tensors = lucid.tensor(a), lucid.tensor(b)
    assert_same(lucid.cat(tensors, dim), np.concatenate([a, b], dim))
    assert_same(lucid.stack(list(tensors), dim=dim), np.stack([a, b], dim))


@pytest.mark.parametrize("join", [lucid.cat, lucid.stack])
@pytest.mark.parametrize("tensors", [[], (), mx.ones(3), [1, 2], [np.ones(2)], None])
def test_joining_what_are_no_tensors_is_a_type_error(join: Maker, tensors: Any):
    with pytest.raises(TypeError, match=r"tensors|array"):
        join(tensors)


def test_random_numbers_have_their_distribution():
    lucid.manual_seed(0)
    uniform, normal = np.array(lucid.rand(100_000)), np.array(lucid.randn(100_000))
    assert 0 <= uniform.min() < uniform.max() < 1
    # Standard errors: 0.0009 and 0.003 of the means, 0.0002 and 0.005 of the variances.
    np.testing.assert_allclose((uniform.mean(), uniform.var()), (1 / 2, 1 / 12), 0.02)
    np.testing.assert_allclose((normal.mean(), normal.var()), (0, 1), atol=0.02)


def test_randint_draws_every_integer_from_low_below_high():
    lucid.manual_seed(0)
    assert set(lucid.randint(-2, 3, (500,), dtype="int64").tolist()) == {*range(-2, 3)}
    assert set(lucid.randint(3, (500,), dtype="uint8").tolist()) == {0, 1, 2}
    assert lucid.randint(3, 4).dtype == mx.int32


def test_randint_refuses_bad_bounds_by_name():
    for low, high in ((5, 5), (0, 2**40), (0, 2**70), (-(2**31) - 1, 0)):
        with pytest.raises(ValueError, match=r"`(low|high)`"):
            lucid.randint(low, high, (8,))
    for bound in (1.5, "1", None, True):
        with pytest.raises(TypeError, match="`high`"):
            lucid.randint(0, bound, (8,))


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**63, -1, 2**64 + 5, np.int64(3)])
def test_manual_seed_is_mlxs_seed(seed: Any):
    lucid.manual_seed(seed)
    ours = lucid.randn(4), lucid.rand(4)
    mx.random.seed(int(seed) % 2**64)
    mlxs = mx.random.normal((4,)), mx.random.uniform(shape=(4,))
    assert [x.tolist() for x in ours] == [x.tolist() for x in mlxs]


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_a_seed_that_is_no_int_is_a_type_error(seed: Any):
    with pytest.raises(TypeError, match="`seed`"):
        lucid.manual_seed(seed)


def test_a_random_state_is_a_copy_that_replays_what_followed():
    lucid.manual_seed(1)
    lucid.rand(3)
    state = lucid.get_rng_state()
    first = [lucid.rand(3).tolist() for _ in range(2)]
    assert first[0] != first[1]
    for _ in range(2):
        lucid.set_rng_state(state)
        assert [lucid.rand(3).tolist() for _ in range(2)] == first


@pytest.mark.parametrize("state", [None, "abc", 5, mx.zeros(3, mx.uint32), mx.zeros(2)])
def test_what_is_no_random_state_is_refused(state: Any):
    before = lucid.get_rng_state().tolist()
    with pytest.raises((TypeError, ValueError), match=r"."):
        lucid.set_rng_state(state)
    assert lucid.get_rng_state().tolist() == before


def test_random_states_work_in_compiled_functions():
    @partial(mx.compile, inputs=mx.random.state, outputs=mx.random.state)
    def draw() -> tuple[mx.array, mx.array, mx.array]:
        state, first = lucid.get_rng_state(), lucid.rand(3)
        lucid.set_rng_state(state)
        return first, lucid.rand(3), lucid.rand(3)

    lucid.manual_seed(4)
    want = [lucid.rand(3).tolist() for _ in range(4)]
    lucid.manual_seed(4)
    for start in (0, 2):  # a call leaves the state two draws on
        one, two = want[start : start + 2]
        assert [x.tolist() for x in draw()] == [one, one, two]
