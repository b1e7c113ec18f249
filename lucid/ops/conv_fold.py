"""A convolution whose patches do not overlap, as one of single voxels.

The voxels of a patch are put side by side, as channels: (N, OD, OH, OW, K * C). It is
done once, where MLX would gather the patches for the product and again for the weight
gradient; and back once, to have the input gradient or a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
from dataclasses import dataclass
import math

from lucid.geometry import ConvGeometry
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


@dataclass(frozen=True)
class Fold:
    """How a formulation has the voxels of a patch become channels of one voxel.

    Args:
        gather: of (N, D, H, W, C) and a geometry, the patches.
        put_back: of patches and a geometry, the voxels, 0 where none was.
    """

    gather: Callable[[mx.array, ConvGeometry], mx.array]
    put_back: Callable[[mx.array, ConvGeometry], mx.array]

    def volumes(self, x: mx.array, geometry: ConvGeometry) -> mx.array:
        """(N, D, H, W, C) -> (N, OD, OH, OW, K * C), to any derivative."""
        return self._linear(self.gather, self.put_back, geometry)(x)

    def back(self, x: mx.array, geometry: ConvGeometry) -> mx.array:
        """(N, OD, OH, OW, K * C) -> (N, D, H, W, C), to any derivative."""
        return self._linear(self.put_back, self.gather, geometry)(x)

    def weight(self, weight: mx.array) -> mx.array:
        """(O, C, KD, KH, KW) -> (O, K * C, 1, 1, 1)."""
        in_order = weight.transpose(0, 2, 3, 4, 1)
        return in_order.reshape(weight.shape[0], -1, 1, 1, 1)

    def geometry(self, geometry: ConvGeometry) -> ConvGeometry:
        """Of the convolution of single voxels."""
        taps = geometry.weight_shape[2:]
        one = (1, 1, 1)
        return dataclasses.replace(
            geometry,
            in_channels=geometry.in_channels * math.prod(taps),
            input_size=geometry.output_size,
            kernel_size=one,
            stride=one,
            dilation=one,
        )

    def _linear(
        self,
        function: Callable[[mx.array, ConvGeometry], mx.array],
        adjoint: Callable[[mx.array, ConvGeometry], mx.array],
        geometry: ConvGeometry,
    ) -> Callable[[mx.array], mx.array]:
        def vjp(_: mx.array, cotangent: mx.array) -> mx.array:
            return self._linear(adjoint, function, geometry)(cotangent)

        def jvp(_: mx.array, tangent: mx.array) -> mx.array:
            return self._linear(function, adjoint, geometry)(tangent)

        return with_derivatives(lambda x: function(x, geometry), vjp, jvp)
