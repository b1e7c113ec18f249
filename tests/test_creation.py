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
KINDS = [(True, "bool"), (2**31 - 1, "int32"), (0.1, "float32"), (1 + 2j, "complex64")]
NO_NUMBERS: list[Any] = [
    *("1", None, (1,), np.array([1, 2]), mx.ones(2)),
    *(np.datetime64(1, "s"), np.timedelta64(1, "ns"), np.array(1, "m8[s]")),
]
ANY_DTYPE = ("zeros", "ones", "empty", "full", "zeros_like", "ones_like", "tensor")
SIZE_ERRORS: list[tuple[Any, type[Exception]]] = [
    (-1, ValueError),
    *((size, ValueError) for size in (2**31, 2**62, 2**63, 2**64, 10**30)),
    *((size, TypeError) for size in (2.0, True, "3", b"3", np.float32(2), [[2], 3])),
]


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
    too_wide = int((_types.physical_memory() / 7) ** 0.5)  # too many bytes, not numbers
    for make in (lucid.zeros, lucid.eye):
        make(too_wide, too_wide, dtype="uint8")
        with pytest.raises(ValueError, match=r"`(size|n)`"):
            make(too_wide, too_wide, dtype="complex64")
    for too_many in ((0, 1e300), (2**45,), (0, 1e300, 1e-300)):
        with pytest.raises(ValueError, match="`end`"):
            lucid.arange(*too_many)


@pytest.mark.parametrize(("value", "dtype"), KINDS)
def test_full_keeps_the_kind_of_a_value(value: Any, dtype: str):
    assert_same(lucid.full((2, 3), value), np.full((2, 3), value, dtype))
    assert_same(lucid.full(2, value), np.full(2, value, dtype))


def test_every_digit_that_the_dtype_holds_is_kept():
    assert lucid.full(1, 2**64 - 1, dtype="uint64").item() == 2**64 - 1
    assert lucid.full(1, 2**53 + 1, dtype="int64").item() == 2**53 + 1
    assert lucid.full(1, 0.1, dtype="float64", device="cpu").item() == 0.1


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, None) for value in (2**31, -(2**31) - 1, 2**70)),
        *((value, "uint8") for value in (256, -1, 1.5, np.nan, np.inf, 1j)),
        *((value, "bool") for value in (2, -1, 0.5, np.nan)),
        *((value, "float16") for value in (65536, -70000.0, 10**400, 1j)),
        *((value, "int64") for value in (2**63, 1e19)),
    ],
)
def test_full_refuses_what_its_dtype_cannot_hold(value: Any, dtype: Any):
    with pytest.raises(ValueError, match="`fill_value`"):
        lucid.full(2, value, dtype=dtype)


@pytest.mark.parametrize("make", [lucid.zeros_like, lucid.ones_like])
@pytest.mark.parametrize("input", [None, 3, (2, 3), np.zeros(2)], ids=str)
def test_likes_of_what_is_no_tensor_are_a_type_error(make: Maker, input: Any):
    with pytest.raises(TypeError, match="`input`"):
        make(input)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_a_type_error_naming_it(value: Any):
    calls = {
        "fill_value": lambda: lucid.full(2, value),
        "start": lambda: lucid.arange(value, 5),
        "end": lambda: lucid.linspace(0, value, 3),
        "step": lambda: lucid.arange(0, 5, value),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"`{name}` "):
            call()


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


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (2**24, 2**24 + 3, "int32"),
        (2**31 - 3, 2**31, "int32"),
        (-(2**31), -(2**31) + 4, "int32"),
        (2**62, 2**62 + 5, "int64"),
        (2**64 - 4, 2**64, "uint64"),
        (250, 256, "uint8"),
        (-128, 128, "int8"),
    ],
)
def test_randint_reaches_every_integer_of_its_range(low: int, high: int, dtype: str):
    lucid.manual_seed(0)
    drawn = lucid.randint(low, high, (3000,), dtype=dtype).tolist()
    assert set(drawn) == set(range(low, high))


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 2**25, "int32"),
        (-(2**31), 2**31, "int32"),
        (-(2**63), 2**63, "int64"),
        (0, 2**64, "uint64"),
    ],
)
def test_randint_is_uniform_over_wide_ranges(low: int, high: int, dtype: str):
    lucid.manual_seed(0)
    drawn = [int(n) for n in lucid.randint(low, high, (20_000,), dtype=dtype).tolist()]
    assert low <= min(drawn) <= max(drawn) < high
    # Each has a standard error of 0.0035.
    odd = np.mean([n % 2 for n in drawn])
    upper = np.mean([n >= (low + high) // 2 for n in drawn])
    np.testing.assert_allclose((odd, upper), 0.5, atol=0.015)


def test_randint_draws_anew_in_a_compiled_function():
    @partial(mx.compile, inputs=mx.random.state, outputs=mx.random.state)
    def draw() -> mx.array:
        return lucid.randint(2**30, (4,))

    lucid.manual_seed(0)
    want = [lucid.randint(2**30, (4,)).tolist() for _ in range(2)]
    lucid.manual_seed(0)
    assert [draw().tolist() for _ in range(2)] == want
    assert want[0] != want[1]


def test_randint_refuses_bad_bounds_by_name():
    for low, high in (
        (5, 5),
        (10**5000, 0),
        (0, 10**5000),
        (0, 2**40),
        (0, 2**70),
        (-(2**31) - 1, 0),
    ):
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
