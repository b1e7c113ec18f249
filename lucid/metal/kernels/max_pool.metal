// The largest voxel of each window, or, with PLACES, where it is in its volume, counted
// flat: of equal ones the first, of NaNs the last, -1 of a window with no voxel.
//
// x (N, D, H, W, C), out (N, OD, OH, OW, C) of R, which is T or int. `start` and `stop` bound
// the windows of the three axes, one axis after the other: OD, OH, OW entries.
// One thread: VEC adjacent channels of one window.
// Grid: (OW * C / VEC, OH, N * OD). Template: T, R, VEC, PLACES.

typedef lucid_channels<VEC> channels;

const int D = x_shape[1], H = x_shape[2], W = x_shape[3], C = x_shape[4];
const int OD = size[0], OH = size[1], OW = size[2];
const int oh = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int ow = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - ow * (C / VEC)) * VEC;
const int n = plane / OD, od = plane - n * OD;

float largest[VEC];
int place[VEC];
LUCID_UNROLL
for (int j = 0; j < VEC; j++) {
  largest[j] = -metal::numeric_limits<float>::infinity();
  place[j] = -1;
}
for (int d = start[od]; d < stop[od]; d += step[0]) {
  for (int h = start[OD + oh]; h < stop[OD + oh]; h += step[1]) {
    auto row = x + (size_t(n * D + d) * H + h) * size_t(W * C) + c;
    for (int w = start[OD + OH + ow]; w < stop[OD + OH + ow]; w += step[2]) {
      const typename channels::type v = channels::load(row + w * C);
      LUCID_UNROLL
      for (int j = 0; j < VEC; j++) {
        const float value = lucid_factor<false>::of(v, j);
        if (value > largest[j] || metal::isnan(value) || place[j] < 0) {
          largest[j] = value;
          place[j] = (d * H + h) * W + w;
        }
      }
    }
  }
}
auto to = out + (size_t(plane) * OH + oh) * size_t(OW * C) + (ow * C + c);
LUCID_UNROLL
for (int j = 0; j < VEC; j++) {
  to[j] = PLACES ? R(place[j]) : R(largest[j]);
}
