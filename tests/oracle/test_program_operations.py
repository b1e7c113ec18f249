"""Each operation of exported programs against PyTorch's own."""

from __future__ import annotations

from typing import Any

from lucid.program.operations import RANDOM, SYMBOLS, TABLE
import mlx.core as mx
import numpy as np
import pytest
import torch

GENERATOR = torch.Generator().manual_seed(0)


def t(*shape: int, low: float = -2, high: float = 2) -> torch.Tensor:
    return torch.rand(shape, generator=GENERATOR) * (high - low) + low


def whole(*shape: int, high: int = 3) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=GENERATOR)


X, Y, POSITIVE = t(2, 3, 4), t(2, 3, 4), t(2, 3, 4, low=0.2)
VOLUME = t(2, 4, 5, 6, 7)
MASK = X > 0

ROWS: dict[str, list[dict[str, Any]]] = {
    **{
        f"aten.{name}.default": [{"self": X * 1.5}]
        for name in (
            *("abs", "exp", "expm1", "sin", "cos", "tan", "tanh", "erf", "floor"),
            *("ceil", "round", "sign", "square", "isnan", "isinf", "reciprocal"),
            *("logical_not", "neg", "atan", "sigmoid", "relu", "relu6", "selu", "silu"),
            *("mish", "hardsigmoid", "hardswish", "log_sigmoid", "hardtanh"),
            *("alias", "detach", "clone", "contiguous", "squeeze", "zeros_like"),
            *("ones_like", "empty_like", "sum", "mean", "max", "min", "argmax"),
            *("argmin", "prod", "lift_fresh_copy", "detach_copy", "zero"),
        )
    },
    **{
        f"aten.{name}.default": [{"self": POSITIVE}]
        for name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt")
    },
    **{
        f"aten.{name}.Tensor": [{"self": X, "other": Y}, {"self": X, "other": X}]
        for name in ("mul", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "div")
    },
    **{
        f"aten.{name}.Scalar": [{"self": X, "other": 0.5}, {"self": X, "other": 2}]
        for name in ("mul", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "div")
    },
    **{
        f"aten.{name}.{overload}": [{"self": whole(2, 3, high=9), "other": other}]
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for overload, other in (("Tensor", whole(2, 3, high=9)), ("Scalar", 3))
    },
    **{
        f"aten.__{name}__.{overload}": [{"self": whole(2, 3, high=9), "other": other}]
        for name in ("and", "or", "xor", "lshift", "rshift")
        for overload, other in (("Tensor", whole(2, 3)), ("Scalar", 2))
    },
    **{
        f"aten.{name}.{overload}": [{"self": MASK, "dim": d, "keepdim": True}]
        for name in ("any", "all")
        for overload, d in (("dim", 1), ("dims", [0, 2]))
    },
    "aten.index_put.default": [
        {"self": X, "indices": [None, whole(4)], "values": t(2, 4, 4)},
        {
            "self": X,
            "indices": [torch.tensor([0, 0, 1])],
            "values": t(4),
            "accumulate": True,
        },
        {"self": X, "indices": [MASK], "values": torch.tensor(3.0)},
        {"self": X, "indices": [MASK[..., 0]], "values": t(4)},
        {"self": X, "indices": [None, MASK[0, :, 0]], "values": torch.tensor([3.0])},
        {
            "self": X,
            "indices": [MASK],
            "values": torch.tensor(3.0),
            "accumulate": True,
        },
    ],
    "aten.slice_scatter.default": [
        {"self": X, "src": t(2, 2, 4), "dim": 1, "start": 1},
        {"self": X, "src": t(2, 3, 2), "dim": -1, "start": 0, "end": 9, "step": 2},
    ],
    "aten.select_scatter.default": [{"self": X, "src": t(2, 4), "dim": 1, "index": -1}],
    "aten.scatter.src": [
        {"self": X, "dim": 1, "index": whole(2, 3, 2).argsort(1), "src": t(2, 3, 4)}
    ],
    "aten.scatter.value": [
        {"self": X, "dim": 2, "index": whole(2, 3, 1), "value": 2.0}
    ],
    "aten.one_hot.default": [{"self": whole(2, 3), "num_classes": 4}],
    "aten._native_batch_norm_legit_no_training.default": [
        {
            "input": VOLUME,
            "weight": t(4),
            "bias": None,
            "running_mean": t(4),
            "running_var": t(4, low=1),
            "momentum": 0.1,
            "eps": 1e-5,
        }
    ],
    "aten.native_group_norm.default": [
        {
            **{"input": VOLUME, "weight": t(4), "bias": t(4), "N": 2, "C": 4},
            **{"HxW": 210, "group": 2, "eps": 1e-5},
        }
    ],
    "aten.native_layer_norm.default": [
        {
            **{"input": X, "normalized_shape": [4], "weight": t(4), "bias": None},
            **{"eps": 1e-5},
        }
    ],
    "aten.max_pool3d_with_indices.default": [
        {"self": VOLUME, "kernel_size": [2, 2, 2]}
    ],
    "aten._adaptive_avg_pool3d.default": [{"self": VOLUME, "output_size": [2, 3, 1]}],
    "aten.rms_norm.default": [
        {"input": X, "normalized_shape": [3, 4], "weight": t(3, 4), "eps": 1e-3},
        {"input": X, "normalized_shape": [4]},
    ],
    "aten._weight_norm.default": [
        {"v": VOLUME, "g": t(2, 1, 1, 1, 1)},
        {"v": VOLUME, "g": t(1, 4, 1, 1, 1), "dim": 1},
    ],
    **{
        f"aten.{name}.dim": [
            {"self": X, "dim": [0, 2], "unbiased": False},
            {"self": X, "dim": None, "keepdim": True},
        ]
        for name in ("var", "std")
    },
    "aten.logsumexp.default": [{"self": X, "dim": [0, 2]}],
    "aten.mv.default": [{"self": t(3, 4), "vec": t(4)}],
    "aten.dot.default": [{"self": t(4), "tensor": t(4)}],
    "aten.vdot.default": [{"self": t(4), "other": t(4)}],
    "aten.outer.default": [{"self": t(4), "vec2": t(3)}],
    **{
        f"aten.{name}.default": [{"self": X}, {"self": X, "dim": 0, "descending": True}]
        for name in ("sort", "argsort")
    },
    "aten.topk.default": [
        {"self": X, "k": 2},
        {"self": X, "k": 1, "dim": 1, "largest": False},
    ],
    **{f"aten.{name}.default": [{"self": X * 3}] for name in ("trunc", "frac")},
    "aten.addcmul.default": [{"self": X, "tensor1": Y, "tensor2": t(4), "value": 0.5}],
    "aten.threshold.default": [{"self": X, "threshold": 0.3, "value": -2.0}],
    "aten.matrix_H.default": [{"self": t(3, 4)}],
    "aten.hstack.default": [{"tensors": [t(3), t(2)]}, {"tensors": [X, Y]}],
    "aten.vstack.default": [{"tensors": [t(3), t(3)]}, {"tensors": [X, Y]}],
    "aten.bitwise_not.default": [{"self": MASK}, {"self": whole(4)}],
    "aten.remainder.Tensor": [{"self": X, "other": POSITIVE}],
    "aten.remainder.Scalar": [{"self": X, "other": 0.7}],
    "aten.floor_divide.default": [{"self": whole(5, high=9), "other": whole(5) + 1}],
    "aten.floor_divide.Scalar": [{"self": whole(5, high=9), "other": 2}],
    "aten.div.Tensor_mode": [
        {"self": X, "other": Y, "rounding_mode": mode} for mode in ("floor", "trunc")
    ],
    "aten.div.Scalar_mode": [{"self": X, "other": 0.3, "rounding_mode": "floor"}],
    **{
        f"aten.logical_{name}.default": [{"self": MASK, "other": Y > 0}]
        for name in ("and", "or", "xor")
    },
    **{
        f"aten.{name}.default": [{"self": X, "other": Y}]
        for name in ("maximum", "minimum", "atan2")
    },
    "aten.rsub.Scalar": [{"self": X, "other": 2}, {"self": X, "other": 2, "alpha": 3}],
    "aten.pow.Tensor_Scalar": [{"self": X, "exponent": 2}],
    "aten.pow.Tensor_Tensor": [{"self": POSITIVE, "exponent": Y}],
    "aten.pow.Scalar": [{"self": 2, "exponent": X}],
    "aten.clamp.default": [
        {"self": X, "min": -0.5, "max": 0.5},
        {"self": X, "min": None, "max": 1},
        {"self": X, "min": 0},
    ],
    "aten.clamp.Tensor": [{"self": X, "min": Y - 1, "max": Y + 1}],
    "aten.clamp_min.default": [{"self": X, "min": 0.1}],
    "aten.clamp_max.default": [{"self": X, "max": 0.1}],
    "aten.where.self": [{"condition": MASK, "self": X, "other": Y}],
    "aten.where.ScalarOther": [{"condition": MASK, "self": X, "other": 2.0}],
    "aten.where.ScalarSelf": [{"condition": MASK, "self": 2.0, "other": X}],
    "aten.masked_fill.Scalar": [{"self": X, "mask": MASK, "value": -100.0}],
    "aten.masked_fill.Tensor": [{"self": X, "mask": MASK, "value": torch.tensor(3.0)}],
    "aten.fill.Scalar": [{"self": X, "value": 3}],
    "aten.fill.Tensor": [{"self": X, "value": torch.tensor(3.0)}],
    "aten.copy.default": [{"self": X, "src": t(4)}],
    "aten.to.dtype": [
        {"self": X, "dtype": dtype} for dtype in (torch.int32, torch.float16)
    ],
    "aten._to_copy.default": [{"self": X, "dtype": torch.int64}],
    "aten.to.other": [{"self": X, "other": whole(1)}],
    "aten.type_as.default": [{"self": whole(3), "other": X}],
    "aten.lerp.Scalar": [{"self": X, "end": Y, "weight": 0.3}],
    "aten.leaky_relu.default": [{"self": X}, {"self": X, "negative_slope": 0.2}],
    "aten.elu.default": [{"self": X}, {"self": X, "alpha": 0.7}],
    "aten.celu.default": [{"self": X}, {"self": X, "alpha": 0.7}],
    "aten.gelu.default": [{"self": X}, {"self": X, "approximate": "tanh"}],
    "aten.softplus.default": [{"self": X}, {"self": X, "beta": 3, "threshold": 2}],
    "aten.prelu.default": [{"self": X, "weight": t(3)}, {"self": X, "weight": t(1)}],
    "aten.softmax.int": [{"self": X, "dim": dim} for dim in (0, 1, -1)],
    "aten.log_softmax.int": [{"self": X, "dim": dim} for dim in (0, 1, -1)],
    "aten._softmax.default": [{"self": X, "dim": 1, "half_to_float": False}],
    "aten._log_softmax.default": [{"self": X, "dim": 1, "half_to_float": False}],
    "aten.glu.default": [{"self": X}, {"self": t(4, 3), "dim": 0}],
    "aten.zeros.default": [{"size": [2, 3]}, {"size": [2], "dtype": torch.int64}],
    "aten.ones.default": [{"size": [2, 3]}],
    "aten.full.default": [
        {"size": [2, 3], "fill_value": value} for value in (1.5, 2, True)
    ],
    "aten.arange.default": [{"end": 5}, {"end": 2.5}],
    "aten.arange.start": [{"start": 1, "end": 5}],
    "aten.arange.start_step": [{"start": 1, "end": 7, "step": 2}],
    "aten.linspace.default": [{"start": 0.0, "end": 1.0, "steps": 7}],
    "aten.scalar_tensor.default": [{"s": 2.5}],
    "aten.eye.default": [{"n": 3}],
    "aten.full_like.default": [{"self": X, "fill_value": 2.0}],
    "aten.new_zeros.default": [{"self": X, "size": [2, 2]}],
    "aten.new_ones.default": [{"self": X, "size": [2, 2]}],
    "aten.new_full.default": [{"self": X, "size": [2, 2], "fill_value": 3.0}],
    "aten.view.default": [{"self": X, "size": [6, 4]}, {"self": X, "size": [-1]}],
    "aten._unsafe_view.default": [{"self": X, "size": [6, 4]}],
    "aten.reshape.default": [{"self": X, "shape": [4, -1]}],
    "aten.view_as.default": [{"self": X, "other": t(6, 4)}],
    "aten.flatten.using_ints": [
        {"self": X},
        {"self": X, "start_dim": 1},
        {"self": VOLUME, "start_dim": 1, "end_dim": 3},
    ],
    "aten.unflatten.int": [{"self": X, "dim": 2, "sizes": [2, 2]}],
    "aten.permute.default": [{"self": X, "dims": [2, 0, 1]}],
    "aten.transpose.int": [{"self": X, "dim0": 0, "dim1": -1}],
    "aten.t.default": [{"self": t(2, 3)}],
    "aten.numpy_T.default": [{"self": X}],
    "aten.movedim.int": [{"self": X, "source": 0, "destination": 2}],
    "aten.movedim.intlist": [{"self": VOLUME, "source": [1, 3], "destination": [4, 0]}],
    "aten.squeeze.dim": [{"self": t(2, 1, 3), "dim": 1}, {"self": X, "dim": 1}],
    "aten.squeeze.dims": [{"self": t(1, 2, 1), "dim": [0, 2]}],
    "aten.unsqueeze.default": [{"self": X, "dim": dim} for dim in (0, -1)],
    "aten.expand.default": [
        {"self": t(3, 1), "size": [2, 3, 4]},
        {"self": t(3, 1), "size": [-1, 4]},
    ],
    "aten.expand_as.default": [{"self": t(3, 1), "other": X}],
    "aten.slice.Tensor": [
        {"self": X, "dim": 2, "start": 1, "end": 2**63 - 1},
        {"self": X, "dim": -1, "start": -3, "end": -1},
        {"self": X, "dim": 2, "start": 0, "end": 4, "step": 2},
        {"self": X},
    ],
    "aten.select.int": [{"self": X, "dim": 1, "index": -1}],
    "aten.narrow.default": [{"self": X, "dim": 2, "start": 1, "length": 2}],
    "aten.cat.default": [{"tensors": [X, Y], "dim": dim} for dim in (0, -1)],
    "aten.stack.default": [{"tensors": [X, Y]}, {"tensors": [X, Y], "dim": 2}],
    "aten.split.Tensor": [{"self": X, "split_size": 3, "dim": 2}],
    "aten.split.sizes": [{"self": X, "split_size": [1, 3], "dim": 2}],
    "aten.split_with_sizes.default": [{"self": X, "split_sizes": [1, 3], "dim": 2}],
    "aten.chunk.default": [{"self": X, "chunks": n, "dim": 2} for n in (1, 2, 3)],
    "aten.unbind.int": [{"self": X}, {"self": X, "dim": 2}],
    "aten.index.Tensor": [
        {"self": X, "indices": [whole(5, high=2)]},
        {"self": X, "indices": [None, whole(2, 2)]},
    ],
    "aten.index_select.default": [{"self": X, "dim": 1, "index": whole(5)}],
    "aten.gather.default": [{"self": X, "dim": 1, "index": whole(2, 2, 4)}],
    "aten.repeat.default": [
        {"self": X, "repeats": [1, 2, 1]},
        {"self": X, "repeats": [2, 1, 1, 2]},
    ],
    "aten.tile.default": [{"self": X, "dims": [2, 1]}],
    "aten.repeat_interleave.self_int": [{"self": X, "repeats": 2, "dim": 1}],
    "aten.flip.default": [{"self": X, "dims": [0, -1]}],
    "aten.roll.default": [
        {"self": X, "shifts": [1, -2], "dims": [0, 2]},
        {"self": X, "shifts": [3]},
    ],
    "aten.pad.default": [
        {"self": VOLUME, "pad": [1, 2, 0, 1], "mode": mode}
        for mode in ("constant", "reflect", "replicate", "circular")
        if mode == "constant"
    ]
    + [
        {"self": VOLUME, "pad": [1, 2, 0, 1, 1, 1], "mode": mode}
        for mode in ("reflect", "replicate", "circular")
    ]
    + [{"self": X, "pad": [-1, 1], "value": 2.0}],
    "aten.constant_pad_nd.default": [{"self": X, "pad": [1, 1], "value": 0.5}],
    "aten.tril.default": [{"self": X}, {"self": X, "diagonal": 1}],
    "aten.triu.default": [{"self": X}, {"self": X, "diagonal": -1}],
    "aten.meshgrid.indexing": [{"tensors": [t(2), t(3)], "indexing": "ij"}],
    "aten.mean.dim": [
        {"self": X, "dim": [1]},
        {"self": X, "dim": [0, -1], "keepdim": True},
    ],
    "aten.sum.dim_IntList": [{"self": X, "dim": [1]}, {"self": MASK, "dim": [1, 2]}],
    "aten.amax.default": [{"self": X}, {"self": X, "dim": [1], "keepdim": True}],
    "aten.amin.default": [{"self": X}, {"self": X, "dim": [1], "keepdim": True}],
    "aten.max.dim": [{"self": X, "dim": 1}],
    "aten.min.dim": [{"self": X, "dim": 1, "keepdim": True}],
    "aten.any.default": [{"self": MASK}],
    "aten.all.default": [{"self": MASK}],
    "aten.var.correction": [
        {"self": X, "dim": [1]},
        {"self": X, "dim": [1, 2], "correction": 0, "keepdim": True},
    ],
    "aten.std.correction": [{"self": X, "dim": [1]}],
    "aten.linalg_vector_norm.default": [{"self": X, "ord": 2, "dim": [1]}],
    "aten.cumsum.default": [{"self": X, "dim": 1}],
    "aten.matmul.default": [
        {"self": t(2, 3, 4), "other": t(2, 4, 5)},
        {"self": t(2, 3, 4), "other": t(4)},
    ],
    "aten.mm.default": [{"self": t(2, 3), "mat2": t(3, 4)}],
    "aten.bmm.default": [{"self": t(2, 3, 4), "mat2": t(2, 4, 5)}],
    "aten.addmm.default": [
        {"self": t(4), "mat1": t(2, 3), "mat2": t(3, 4)},
        {"self": t(4), "mat1": t(2, 3), "mat2": t(3, 4), "beta": 2, "alpha": 3},
    ],
    "aten.baddbmm.default": [
        {"self": t(2, 1, 5), "batch1": t(2, 3, 4), "batch2": t(2, 4, 5)}
    ],
    "aten.einsum.default": [
        {"equation": "bij,bkj->bik", "tensors": [t(2, 3, 4), t(2, 5, 4)]}
    ],
    "aten.scaled_dot_product_attention.default": [
        {"query": t(2, 3, 4, 5), "key": t(2, 3, 6, 5), "value": t(2, 3, 6, 7)},
        {
            "query": t(2, 3, 4, 5),
            "key": t(2, 3, 4, 5),
            "value": t(2, 3, 4, 7),
            "is_causal": True,
        },
        {
            "query": t(2, 4, 5),
            "key": t(2, 6, 5),
            "value": t(2, 6, 7),
            "attn_mask": t(4, 6),
            "scale": 0.3,
        },
        {
            "query": t(2, 4, 5),
            "key": t(2, 6, 5),
            "value": t(2, 6, 7),
            "attn_mask": t(4, 6) > -1,
        },
    ],
    "aten.conv3d.default": [
        {"input": VOLUME, "weight": t(6, 4, 3, 3, 3)},
        {
            "input": VOLUME,
            "weight": t(6, 2, 3, 1, 2),
            "bias": t(6),
            "stride": [1, 2, 1],
            "padding": [1, 0, 2],
            "dilation": [2, 1, 1],
            "groups": 2,
        },
    ],
    "aten.conv3d.padding": [
        {"input": VOLUME, "weight": t(6, 4, 3, 2, 3), "bias": None, "padding": "same"}
    ],
    "aten.conv_transpose3d.input": [
        {"input": VOLUME, "weight": t(4, 3, 2, 2, 2), "stride": [2, 2, 2]},
        {
            "input": VOLUME,
            "weight": t(4, 3, 3, 3, 3),
            "bias": t(6),
            "stride": [2, 2, 2],
            "padding": [1, 1, 1],
            "output_padding": [1, 1, 1],
            "groups": 2,
        },
    ],
    "aten.convolution.default": [
        {
            "input": VOLUME,
            "weight": t(4, 4, 3, 3, 3),
            "bias": None,
            "stride": [1, 1, 1],
            "padding": [1, 1, 1],
            "dilation": [1, 1, 1],
            "transposed": transposed,
            "output_padding": [0, 0, 0],
            "groups": 1,
        }
        for transposed in (False, True)
    ],
    "aten.batch_norm.default": [
        {
            "input": VOLUME,
            "weight": t(4),
            "bias": t(4),
            "running_mean": t(4),
            "running_var": t(4, low=0.5),
            "training": training,
            "momentum": 0.1,
            "eps": 1e-5,
            "cudnn_enabled": False,
        }
        for training in (False, True)
    ],
    "aten.instance_norm.default": [
        {
            "input": VOLUME,
            "weight": weight,
            "bias": weight,
            "running_mean": None,
            "running_var": None,
            "use_input_stats": True,
            "momentum": 0.1,
            "eps": 1e-5,
            "cudnn_enabled": False,
        }
        for weight in (None, t(4))
    ],
    "aten.group_norm.default": [
        {"input": VOLUME, "num_groups": 2},
        {"input": VOLUME, "num_groups": 4, "weight": t(4), "bias": t(4), "eps": 1e-3},
    ],
    "aten.layer_norm.default": [
        {"input": X, "normalized_shape": [4]},
        {"input": X, "normalized_shape": [3, 4], "weight": t(3, 4), "bias": t(3, 4)},
    ],
    "aten.max_pool3d.default": [
        {"self": VOLUME, "kernel_size": [2, 2, 2]},
        {
            "self": VOLUME,
            "kernel_size": [3, 3, 3],
            "stride": [2, 2, 2],
            "padding": [1, 1, 1],
            "dilation": [1, 1, 1],
            "ceil_mode": True,
        },
    ],
    "aten.avg_pool3d.default": [
        {"self": VOLUME, "kernel_size": [2, 2, 2]},
        {
            "self": VOLUME,
            "kernel_size": [3, 3, 3],
            "stride": [2, 1, 2],
            "padding": [1, 1, 1],
            "ceil_mode": True,
            "count_include_pad": False,
        },
    ],
    "aten.adaptive_avg_pool3d.default": [
        {"self": VOLUME, "output_size": size} for size in ([1, 1, 1], [2, 3, 4])
    ],
    "aten.upsample_nearest3d.vec": [
        {"input": VOLUME, "output_size": None, "scale_factors": [2.0, 2.0, 2.0]},
        {"input": VOLUME, "output_size": [7, 6, 5], "scale_factors": None},
    ],
    "aten._upsample_nearest_exact3d.vec": [
        {"input": VOLUME, "output_size": [7, 6, 5], "scale_factors": None}
    ],
    "aten.upsample_trilinear3d.vec": [
        {
            "input": VOLUME,
            "output_size": None,
            "align_corners": False,
            "scale_factors": [2.0, 1.5, 1.0],
        },
        {
            "input": VOLUME,
            "output_size": [7, 6, 5],
            "align_corners": True,
            "scale_factors": None,
        },
    ],
    "aten.linear.default": [
        {"input": X, "weight": t(5, 4)},
        {"input": X, "weight": t(5, 4), "bias": t(5)},
    ],
    "aten.embedding.default": [{"weight": t(3, 4), "indices": whole(2, 5)}],
    "aten.affine_grid_generator.default": [
        {"theta": t(2, 3, 4), "size": [2, 1, 3, 4, 5], "align_corners": align}
        for align in (False, True)
    ],
    "aten.grid_sampler.default": [
        {
            "input": VOLUME,
            "grid": t(2, 3, 4, 5, 3, low=-1.2, high=1.2),
            "interpolation_mode": 0,
            "padding_mode": padding,
            "align_corners": align,
        }
        for padding in (0, 1, 2)
        for align in (False, True)
    ],
    **{
        f"aten.{name}.default": [{"input": VOLUME, "p": 0.5, "train": False}]
        for name in ("dropout", "alpha_dropout", "feature_dropout")
    },
}
UNTOUCHED = {
    "aten.empty.memory_format": "its numbers are anything",
    "aten.to.device": "`to.dtype`, with a device that means nothing here",
    "aten.to.dtype_layout": "likewise, with a layout",
}


def to_mlx(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return mx.array(value.numpy())
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return [to_mlx(entry) for entry in value] if isinstance(value, list) else value


def clone(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def theirs(target: str, arguments: dict[str, Any]) -> Any:
    library, name, overload = target.split(".")
    packet = getattr(torch.ops, library)
    operation = getattr(getattr(packet, name), overload)
    arguments_by_place = [a for a in operation._schema.arguments if not a.kwarg_only]
    given = {k: clone(v) for k, v in arguments.items()}
    positional = []
    for argument in arguments_by_place:
        if argument.name not in given:
            break
        positional.append(given.pop(argument.name))
    return operation(*positional, **given)


@pytest.mark.parametrize("target", ROWS)
def test_an_operation_is_pytorch_s(target):
    for arguments in ROWS[target]:
        want = theirs(target, arguments)
        got = TABLE[target](**{k: to_mlx(v) for k, v in arguments.items()})
        wants = list(want) if isinstance(want, tuple | list) else [want]
        gots = list(got) if isinstance(got, tuple | list) else [got]
        assert len(gots) == len(wants)
        for one, other in zip(gots, wants, strict=True):
            if one is None:  # only PyTorch's gradient reads it
                continue
            expected = other.numpy()
            assert one.shape == expected.shape
            if target != "aten.empty_like.default":
                np.testing.assert_allclose(
                    np.array(one.astype(mx.float32)), expected, rtol=3e-5, atol=3e-5
                )
            # MLX compares, sums and casts to the dtypes that PyTorch has.
            assert str(one.dtype).split(".")[-1].rstrip("_") == str(expected.dtype)


def test_every_operation_has_a_row():
    random = {target for target in RANDOM if "dropout" not in target}
    without = set(TABLE) - set(ROWS) - set(SYMBOLS) - random - set(UNTOUCHED)
    assert without == set()
