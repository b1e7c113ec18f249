// What MLX puts before the source of a custom kernel. Precompiled once.
#include <metal_stdlib>

using namespace metal;

#include "mlx/backend/metal/kernels/utils.h"
