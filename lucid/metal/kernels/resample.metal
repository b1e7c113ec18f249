// out[n, od, oh, ow, c] = the sum over taps i, j, k of
//   weight_d[i, od] * weight_h[j, oh] * weight_w[k, ow] * x[n, d[i, od], h[j, oh], w[k, ow], c]
//
// x (N, D, H, W, C), out (N, OD, OH, OW, C). `index` and `weight` hold the tables of
// the three axes, one after the other: (TD, OD), (TH, OH), (TW, OW). A tap of weight 0
// is not read.
// One thread: VEC adjacent channels of one output.
// Grid: (OW * C / VEC, OH, N * OD). Template: T, VEC; TD, TH, TW: taps of an axis.

typedef lucid_channels<VEC> channels;

const int D = x_shape[1], H = x_shape[2], W = x_shape[3], C = x_shape[4];
const int OD = size[0], OH = size[1], OW = size[2];
const int oh = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int ow = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - ow * (C / VEC)) * VEC;
const int n = plane / OD, od = plane - n * OD;

int column[TW];
float by_column[TW];
LUCID_UNROLL
for (int k = 0; k < TW; k++) {
  const int entry = TD * OD + TH * OH + k * OW + ow;
  column[k] = index[entry] * C + c;
  by_column[k] = weight[entry];
}
typename channels::type sum(0.0f);
for (int i = 0; i < TD; i++) {
  const int d = index[i * OD + od];
  const float by_plane = weight[i * OD + od];
  for (int j = 0; j < TH; j++) {
    const int entry = TD * OD + j * OH + oh;
    const float by_row = by_plane * weight[entry];
    if (by_row == 0.0f) {
      continue;
    }
    auto row = x + (size_t(n * D + d) * H + index[entry]) * size_t(W * C);
    LUCID_UNROLL
    for (int k = 0; k < TW; k++) {
      if (by_column[k] != 0.0f) {
        sum += channels::load(row + column[k]) * (by_row * by_column[k]);
      }
    }
  }
}
channels::store(out + (size_t(plane) * OH + oh) * size_t(OW * C) + (ow * C + c), sum);
