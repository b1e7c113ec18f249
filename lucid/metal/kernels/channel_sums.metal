// out[split, 0, n, c] = the sum of a over the voxels of one split
// out[split, 1, n, c] = the sum of a * (x - center)
//
// a and x (N, V, C), center (N, C) in float32, out (SPLITS, 2, N, C) in float32; with
// MOMENTS a is x - center itself, and its array is not read. A split is a run of
// voxels; the splits are summed afterwards: no atomics, one order.
// One thread: VEC adjacent channels of every Y-th voxel of a split. A threadgroup reads
// memory front to back, and adds up its Y threads of a channel in a fixed tree.
// Grid: (C / VEC, Y, N * SPLITS); a threadgroup has all of the Y threads of a channel.
// Template: T, VEC, MOMENTS; GROUP: threads of a threadgroup, at most.

typedef lucid_channels<VEC> channels;
typedef typename channels::type number;
threadgroup number totals[GROUP];
threadgroup number products[GROUP];

const int C = x_shape[2];
const uint rows = uint(size[0]), rows_a_split = uint(size[1]);
const uint splits = threads_per_grid.z / uint(x_shape[0]);
const uint n = thread_position_in_grid.z / splits;
const uint split = thread_position_in_grid.z - n * splits;
const int c = int(thread_position_in_grid.x) * VEC;
const uint X = threads_per_threadgroup.x, Y = threads_per_threadgroup.y;
const uint y = thread_position_in_threadgroup.y;
// By its own size, which at the edge of the grid is smaller than the other groups'.
const uint t = (thread_position_in_threadgroup.z * Y + y) * X +
    thread_position_in_threadgroup.x;

const uint start = split * rows_a_split;
const uint stop = metal::min(rows, start + rows_a_split);
const size_t first = (size_t(n) * size_t(x_shape[1]) + start + y) * size_t(C) + c;
const int step = int(Y) * C;
auto of_a = a + first;
auto of_x = x + first;
const number middle = channels::load(center + n * C + c);
number total(0.0f), product(0.0f);
for (uint row = start + y; row < stop; row += Y) {
  const number v = channels::load(of_x) - middle;
  number u = v;
  if (!MOMENTS) {
    u = channels::load(of_a);
  }
  total += u;
  product += u * v;
  of_a += step;
  of_x += step;
}
totals[t] = total;
products[t] = product;
for (uint left = Y; left > 1; left = (left + 1) / 2) {
  const uint half_of = (left + 1) / 2;
  threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  if (y + half_of < left) {
    totals[t] += totals[t + half_of * X];
    products[t] += products[t + half_of * X];
  }
}
if (y == 0) {
  device float* to = out + (size_t(split) * 2 * x_shape[0] + n) * C + c;
  channels::store(to, totals[t]);
  channels::store(to + size_t(x_shape[0]) * C, products[t]);
}
