"""Sliding windows against a direct weighted mean in NumPy."""

from __future__ import annotations

import itertools

import lucid
from lucid import nn
from lucid.inference import sliding_window_inference
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import uniform

RNG = np.random.default_rng(0)


def starts(n: int, window: int, step: int) -> list[int]:
    """Every `step`, the last window at the end."""
    return [*range(0, n - window, step), n - window]


def weights_of(window, gaussian: bool) -> np.ndarray:
    total = np.ones(window)
    if gaussian:
        for axis, n in enumerate(window):
            x = np.arange(n) - (n - 1) / 2
            shape = [n if i == axis else 1 for i in range(3)]
            total = total * np.exp(-(x**2) / (2 * (n / 8) ** 2)).reshape(shape)
    return np.maximum(total, 1e-3)


def blended(x: np.ndarray, window, share, predict, gaussian: bool) -> np.ndarray:
    """The weighted mean of the predictions of every window, in float64."""
    corners = itertools.product(
        *(
            starts(n, w, max(int(w * (1 - share)), 1))
            for n, w in zip(x.shape[2:], window, strict=True)
        )
    )
    weight, total, count = weights_of(window, gaussian), 0.0, np.zeros(x.shape[2:])
    for corner in corners:
        place = tuple(slice(s, s + w) for s, w in zip(corner, window, strict=True))
        part = np.zeros((x.shape[0], 2, *x.shape[2:]))
        everywhere = (slice(None), slice(None), *place)
        part[everywhere] = predict(x[everywhere]) * weight
        total = total + part
        count[place] += weight
    return total / count


def predict(x):
    """Depends on where in the window a voxel lies."""
    xp = mx if isinstance(x, mx.array) else np
    ramp = sum(
        xp.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) * (axis + 1)
        for axis, n in enumerate(x.shape[2:])
    )
    both = [x[:, :1] * ramp, x[:, :1] + ramp]
    return xp.concatenate(both, axis=1)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
@pytest.mark.parametrize(
    ("size", "window"),
    [((9, 8, 7), (4, 5, 3)), ((6, 5, 4), (6, 5, 4)), ((11, 4, 9), (3, 4, 8))],
)
@pytest.mark.parametrize("batch", [1, 3, 50])
def test_windows_are_averaged_by_their_weights(size, window, share, gaussian, batch):
    x = uniform(RNG, (2, 1, *size))
    got = sliding_window_inference(
        mx.array(x),
        window,
        batch,
        predict,
        share,
        "gaussian" if gaussian else "constant",
    )
    want = blended(x, window, share, predict, gaussian)
    np.testing.assert_allclose(np.array(got), want, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("roi", [8, (8, 8, 8), (None, -1, 0), None])
def test_a_volume_smaller_than_a_window_is_padded_and_cropped(roi):
    x = mx.array(uniform(RNG, (1, 2, 5, 6, 7)))
    seen = []

    def look(windows):
        seen.append(windows.shape[2:])
        return windows * 2

    got = sliding_window_inference(x, roi, 4, look)
    assert mx.allclose(got, x * 2)
    assert seen == [(8, 8, 8) if roi not in (None, (None, -1, 0)) else (5, 6, 7)]


def test_the_number_of_windows_at_once_is_what_was_asked():
    counts = []

    def count(windows):
        counts.append(len(windows))
        return windows

    sliding_window_inference(lucid.ones(2, 1, 8, 8, 8), 4, 3, count, overlap=0.0)
    assert counts == [3, 3, 3, 3, 3, 1]


def test_a_lazy_model_predicts():
    model = nn.Sequential(
        nn.LazyConv3d(4, 3, padding=1), nn.ReLU(), nn.LazyConv3d(2, 1)
    )
    got = sliding_window_inference(lucid.rand(1, 3, 6, 8, 10), 6, 2, model)
    assert got.shape == (1, 2, 6, 8, 10)
    assert model[0].in_channels == 3


def test_tuples_and_dictionaries_come_back_as_they_are():
    x = mx.array(uniform(RNG, (1, 1, 6, 6, 6)))
    both = sliding_window_inference(x, 4, 2, lambda w: [w, w + 1])
    assert isinstance(both, tuple)
    assert mx.allclose(both[1], x + 1)
    named = sliding_window_inference(x, 4, 2, lambda w: {"b": w, "a": w * 3})
    assert list(named) == ["a", "b"]
    assert mx.allclose(named["a"], x * 3)


def test_weights_may_be_the_user_s():
    x = mx.array(uniform(RNG, (1, 1, 4, 4, 6)))
    # The second window alone counts where both lie.
    weights = mx.concatenate([mx.ones((4, 4, 2)), mx.full((4, 4, 2), 1e-8)], axis=2)
    calls = []

    def numbered(windows):
        calls.append(1)
        return windows * 0 + len(calls)

    got = sliding_window_inference(
        x, 4, 1, numbered, overlap=0.5, roi_weight_map=weights
    )
    assert np.array(got)[0, 0, 0, 0].round(3).tolist() == [1, 1, 2, 2, 2, 2]


def test_outputs_and_weights_may_be_processed():
    x = mx.array(uniform(RNG, (1, 1, 4, 4, 6)))

    def process(outputs, windows, weights):
        assert weights.shape == (1, 1, 4, 4, 4)
        keep = (mx.arange(4) >= 2).astype(mx.float32) + 1e-9
        return [output + windows for output in outputs], weights * keep

    got = sliding_window_inference(x, 4, 1, lambda w: w, 0.5, process_fn=process)
    assert mx.allclose(got, 2 * x)


def test_the_predictor_is_given_what_the_caller_adds():
    x = lucid.ones(1, 1, 4, 4, 8)
    seen = []

    def predictor(windows, where, extra, *, condition, scale):
        seen.append((where[0][4].start, condition.shape, extra))
        return windows * scale + condition

    got = sliding_window_inference(
        *(x, 4, 1, predictor, 0.0, "constant", 0.125, "constant", 0.0, None, None),
        *(False, None, None, None, -1, True, "extra"),
        condition=x * 3,
        scale=2,
    )
    assert seen == [(0, (1, 1, 4, 4, 4), "extra"), (4, (1, 1, 4, 4, 4), "extra")]
    assert mx.allclose(got, x * 5)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_the_memory_holds_the_result_of_float32_sums(name):
    x = mx.array(uniform(RNG, (1, 1, 9, 8, 8)))
    exact = sliding_window_inference(x, 4, 8, predict, 0.5)
    half = sliding_window_inference(x, 4, 8, predict, 0.5, output_dtype=name)
    assert half.dtype == getattr(mx, name)
    assert (half == exact.astype(half.dtype)).all()


def test_what_is_held_beside_the_result_is_a_window_s_planes():
    x = lucid.zeros(1, 1, 96, 32, 32)
    mx.eval(x)
    planes = 8 * 32 * 32 * 4 * 5  # sums of four channels, and their weights
    result = 4 * x.size * 2
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    sliding_window_inference(
        *(x, (8, 32, 32), 1, lambda w: mx.repeat(w, 4, axis=1)),
        output_dtype="float16",
    )
    assert mx.get_peak_memory() - before < result + 6 * planes


def test_integers_are_predicted_in_float32():
    got = sliding_window_inference(
        mx.ones((1, 1, 4, 4, 4), mx.int32), 4, 1, lambda w: w / 2
    )
    assert got.dtype == mx.float32
    assert (got == 0.5).all()


def test_a_bar_shows_the_batches(capsys):
    sliding_window_inference(
        lucid.ones(1, 1, 4, 4, 8), 4, 1, lambda w: w, 0.0, progress=True
    )
    assert "2/2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inputs": np.ones((1, 1, 4, 4, 4))}, TypeError, "`inputs`.*ndarray"),
        ({"inputs": mx.ones((1, 4, 4, 4))}, ValueError, "`inputs`"),
        ({"inputs": mx.ones((0, 1, 4, 4, 4))}, ValueError, "`inputs`"),
        ({"roi_size": (4, 4)}, ValueError, "`roi_size`"),
        ({"roi_size": 2.5}, TypeError, "`roi_size`"),
        ({"sw_batch_size": 0}, ValueError, "`sw_batch_size`"),
        ({"predictor": 3}, TypeError, "`predictor`"),
        ({"predictor": 10**5000}, TypeError, r"`predictor` \(=a int\)"),
        ({"predictor": lambda w: w[0]}, ValueError, "`predictor`"),
        ({"predictor": lambda w: None}, ValueError, "`predictor`.*NoneType"),
        ({"predictor": lambda w: ()}, ValueError, "`predictor`"),
        ({"overlap": 1.0}, ValueError, "`overlap`"),
        ({"overlap": (0.1, -0.1, 0.1)}, ValueError, "`overlap`"),
        ({"overlap": "half"}, TypeError, "`overlap`"),
        ({"mode": "mean"}, ValueError, "`mode`"),
        ({"sigma_scale": 0.0}, ValueError, "`sigma_scale`"),
        ({"padding_mode": "zeros"}, ValueError, "`padding_mode`"),
        ({"roi_weight_map": mx.ones((3, 4, 4))}, ValueError, "`roi_weight_map`"),
        ({"output_dtype": "float8"}, TypeError, "`dtype`"),
        ({"output_dtype": "int32"}, TypeError, "`output_dtype`"),
    ],
)
def test_a_wrong_argument_is_named(changes, error, message):
    arguments = {
        "inputs": mx.ones((1, 1, 6, 6, 6)),
        "roi_size": 4,
        "sw_batch_size": 2,
        "predictor": lambda w: w,
    }
    with pytest.raises(error, match=message):
        sliding_window_inference(**{**arguments, **changes})


def test_a_result_that_cannot_fit_says_what_would_take_half():
    x = mx.ones((1, 1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"`inputs`.*output_dtype"):
        sliding_window_inference(
            x, 2, 1, lambda w: mx.broadcast_to(w[:, :1], (1, 2**31 - 1, 2, 2, 2))
        )
