// out = a * a_scale + (x - center) * x_scale + shift
//
// a, x and out (N, V, C); the others (N, C) in float32. Without TWO there is no a, and
// its arrays are not read.
// One thread: VEC adjacent channels of ROWS voxels, whose coefficients it loads once.
// These voxels lie a grid's height apart: at every load the threads of a threadgroup
// read one run of memory.
// Grid: (C / VEC, ceil(V / ROWS), N). Template: T, VEC, ROWS, TWO.

typedef lucid_channels<VEC> channels;
typedef typename channels::type number;

const uint V = uint(x_shape[1]);
const int C = x_shape[2];
const int c = int(thread_position_in_grid.x) * VEC;
const int of_channel = int(thread_position_in_grid.z) * C + c;
const size_t volume = size_t(thread_position_in_grid.z) * V;

const number middle = channels::load(center + of_channel);
const number scale = channels::load(x_scale + of_channel);
const number constant_part = channels::load(shift + of_channel);
number other_scale(0.0f);
if (TWO) {
  other_scale = channels::load(a_scale + of_channel);
}
LUCID_UNROLL
for (int i = 0; i < ROWS; i++) {
  const uint row = thread_position_in_grid.y + uint(i) * threads_per_grid.y;
  if (row < V) {
    const size_t at = (volume + row) * size_t(C) + c;
    number v = (channels::load(x + at) - middle) * scale + constant_part;
    if (TWO) {
      v += channels::load(a + at) * other_scale;
    }
    channels::store(out + at, v);
  }
}
