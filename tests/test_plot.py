"""`lucid.plot.slices`: the right voxels, at true proportions, no label on another."""

from __future__ import annotations

import itertools
import subprocess
import sys

import lucid
from matplotlib.backends.backend_agg import FigureCanvasAgg
import mlx.core as mx
import numpy as np
import pytest

SHAPE = (6, 20, 32)
VOLUME = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)


def shown(figure, index: int) -> np.ndarray:
    return np.asarray(figure.axes[index].images[0].get_array())


def outlined(ax) -> list[tuple[float, ...]]:
    """(left, lower, right, upper) of each outline, in voxels."""
    return [
        (*np.min(path.vertices, axis=0), *np.max(path.vertices, axis=0))
        for lines in ax.collections
        for path in lines.get_paths()
    ]


def test_importing_lucid_does_not_import_matplotlib():
    script = "import lucid, sys; lucid.plot.slices; print('matplotlib' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_matplotlib_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "lucid._slices", raising=False)
    monkeypatch.delattr(lucid, "_slices", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        lucid.plot.slices(VOLUME)


@pytest.mark.parametrize("kind", [np.asarray, mx.array, lucid.tensor])
def test_the_slices_are_those_of_the_volume(kind):
    figure = lucid.plot.slices(kind(VOLUME), at=(1, 2, 3))
    assert [ax.get_title() for ax in figure.axes] == ["d = 1", "h = 2", "w = 3"]
    for axis, index in enumerate((1, 2, 3)):
        assert (shown(figure, axis) == VOLUME.take(index, axis)).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "uint8", "bool_", "int64"])
def test_any_real_dtype_is_shown(dtype):
    volume = lucid.arange(2 * 3 * 4).reshape(2, 3, 4).astype(getattr(mx, dtype))
    figure = lucid.plot.slices(volume)
    want = np.array(volume.astype(mx.float32))[1]
    assert (shown(figure, 0) == want).all()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("spacing", [(5.0, 1.5, 0.7), (0.2, 3, 1)])
def test_proportions_are_those_of_the_millimeters(count, spacing):
    figure = lucid.plot.slices([VOLUME] * count, spacing=spacing)
    FigureCanvasAgg(figure).draw()
    extent = np.multiply(SHAPE, spacing)
    scales = []
    for number, ax in enumerate(figure.axes):
        axis = number // count
        up, across = np.delete(extent, axis)
        left, right, lower, upper = ax.images[0].get_extent()
        corners = ax.transData.transform([(left, lower), (right, upper)])
        width, height = corners[1] - corners[0]
        assert height / width == pytest.approx(up / across, rel=1e-3)
        scales.append(width / across)
    if count > 1:
        assert max(scales) < 1.1 * min(scales), "one scale for all"


LONG = "a title that says at length what can be seen in these three pictures"


@pytest.mark.parametrize("shape", [SHAPE, (100, 4, 5), (2, 3, 400)])
@pytest.mark.parametrize("titles", [[LONG], [LONG, LONG.replace(" ", "_$")]])
def test_no_label_meets_another_or_leaves_the_figure(shape, titles):
    volumes = {title: np.ones(shape) for title in titles}
    figure = lucid.plot.slices(volumes, spacing=(1, 1, 1.5))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [ax.title for ax in figure.axes] + [ax.yaxis.label for ax in figure.axes]
    texts += figure.texts
    boxes = [
        text.get_window_extent(canvas.get_renderer())
        for text in texts
        if text.get_text()
    ]
    assert len(boxes) == (4 if len(titles) == 1 else 5)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_outlines_lie_around_the_mask_and_slices_in_its_middle():
    mask = np.zeros(SHAPE, int)
    mask[2:4, 5:10, 8:16] = 1
    mask[2:4, 12:20, 24:32] = 2  # at the border
    figure = lucid.plot.slices(VOLUME, mask)
    assert figure.axes[0].get_title() == "d = 2"
    boxes = outlined(figure.axes[0])
    assert boxes == [(7.5, 4.5, 15.5, 9.5), (23.5, 11.5, 31.5, 19.5)]
    colors = [tuple(c.get_edgecolor()[0]) for c in figure.axes[0].collections]
    assert len(set(colors)) == 2


def test_a_slice_without_mask_has_no_outline():
    mask = np.zeros(SHAPE, bool)
    assert outlined(lucid.plot.slices(VOLUME, mask).axes[0]) == []
    mask[0, 0, 0] = True
    figure = lucid.plot.slices(VOLUME, mx.array(mask), at=(5, 5, 5))
    assert [outlined(ax) for ax in figure.axes] == [[], [], []]


def test_channels_are_columns_and_masks_are_as_many_or_one():
    masks = np.zeros((2, *SHAPE))
    masks[0, :, :5], masks[1, :, 3:9] = 1, 1  # classes that overlap
    figure = lucid.plot.slices(np.stack([VOLUME, -VOLUME]), masks)
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["channel 0", "channel 1"]
    assert len(figure.axes) == 6
    assert (shown(figure, 1) == -shown(figure, 0)).all()
    assert len(outlined(figure.axes[1])) == 2
    figure = lucid.plot.slices(
        {"a": VOLUME, "b": VOLUME}, {"a": masks[0], "b": masks[1]}
    )
    assert outlined(figure.axes[0]) != outlined(figure.axes[1])


def test_contrast_is_each_volume_s_own_unless_given():
    volume = VOLUME.copy()
    volume[0, 0, 0], volume[5, 5, 5] = np.nan, np.inf
    figure = lucid.plot.slices([VOLUME, 3 * volume])
    first, second = (figure.axes[i].images[0].get_clim() for i in (0, 1))
    assert second == pytest.approx((3 * first[0], 3 * first[1]), abs=5)
    figure = lucid.plot.slices([VOLUME, 3 * volume], vmin=0, vmax=9)
    assert figure.axes[4].images[0].get_clim() == (0, 9)


def test_it_is_a_picture_in_a_notebook():
    assert lucid.plot.slices(VOLUME)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"volume": VOLUME[0]}, ValueError, r"`volume` must be \(D, H, W\)"),
        ({"volume": VOLUME[None, None]}, ValueError, "take one of the batch"),
        ({"volume": np.zeros((0, 2, 2))}, ValueError, "not empty"),
        ({"volume": []}, ValueError, "`volume` is empty"),
        ({"volume": 3}, TypeError, "`volume`"),
        ({"volume": [[1.0, 2.0]]}, TypeError, "`volume`"),
        ({"volume": VOLUME + 1j}, TypeError, "real numbers, not complex64"),
        ({"volume": np.zeros((40, 2, 2, 2))}, ValueError, "40 channels"),
        ({"volume": [VOLUME, VOLUME[1:]]}, ValueError, r"\(5, 20, 32\)"),
        ({"mask": VOLUME[1:]}, ValueError, r"`mask` has .* \(5, 20, 32\)"),
        ({"mask": VOLUME / 7}, ValueError, "mask > 0.5"),
        ({"mask": [VOLUME, VOLUME]}, ValueError, "as many"),
        ({"spacing": 2}, ValueError, "`spacing`"),
        ({"spacing": (1, 1, 0)}, ValueError, "`spacing`"),
        ({"at": (6, 0, 0)}, ValueError, r"`at` .* out of range"),
        ({"at": (0.5, 0, 0)}, TypeError, "`at`"),
        ({"vmin": 2, "vmax": 1}, ValueError, "`vmin`"),
        ({"cmap": "grey-ish"}, ValueError, "`cmap`"),
        ({"origin": "left"}, ValueError, "`origin`"),
    ],
)
def test_a_wrong_argument_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        lucid.plot.slices(**{"volume": VOLUME, **arguments})
