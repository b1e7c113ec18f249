// out[n, d, h, w, c] = the sum of dy over the windows whose largest voxel is this one
//
// dy and place (N, OD, OH, OW, C), out (N, D, H, W, C); place as max_pool.metal has it.
// `first` and `last` are the windows that may hold a voxel, on the three axes, one after
// the other: D, H, W entries; first > last where there is none.
// One thread: VEC adjacent channels of one voxel, gathered: no atomics, one order.
// Grid: (W * C / VEC, H, N * D). Template: T, VEC.

typedef lucid_channels<VEC> channels;

const int OD = dy_shape[1], OH = dy_shape[2], OW = dy_shape[3], C = dy_shape[4];
const int D = size[0], H = size[1], W = size[2];
const int h = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int w = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - w * (C / VEC)) * VEC;
const int n = plane / D, d = plane - n * D;
const int own = (d * H + h) * W + w;

float sum[VEC];
LUCID_UNROLL
for (int j = 0; j < VEC; j++) {
  sum[j] = 0.0f;
}
for (int od = first[d]; od <= last[d]; od++) {
  for (int oh = first[D + h]; oh <= last[D + h]; oh++) {
    for (int ow = first[D + H + w]; ow <= last[D + H + w]; ow++) {
      const size_t at =
          (size_t(n * OD + od) * OH + oh) * size_t(OW * C) + (ow * C + c);
      const typename channels::type v = channels::load(dy + at);
      LUCID_UNROLL
      for (int j = 0; j < VEC; j++) {
        sum[j] += place[at + j] == own ? lucid_factor<false>::of(v, j) : 0.0f;
      }
    }
  }
}
device T* to = out + (size_t(plane) * H + h) * size_t(W * C) + (w * C + c);
LUCID_UNROLL
for (int j = 0; j < VEC; j++) {
  to[j] = T(sum[j]);
}
