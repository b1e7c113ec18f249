// out[n, d, h, w, c] = x[n, source(d), source(h), source(w), c]
//
// One thread: VEC adjacent channels of one padded voxel.
// Grid: (OW * C / VEC, OH, N * OD). Template: T, MODE, VEC.

const int D = x_shape[1], H = x_shape[2], W = x_shape[3], C = x_shape[4];
const int OD = size[0], OH = size[1], OW = size[2];
const int oh = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int ow = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - ow * (C / VEC)) * VEC;
const int n = plane / OD, od = plane - n * OD;

const int d = lucid_source<MODE>(od - before[0], D);
const int h = lucid_source<MODE>(oh - before[1], H);
const int w = lucid_source<MODE>(ow - before[2], W);
auto from = x + (size_t(n * D + d) * H + h) * size_t(W * C) + (w * C + c);
device T* to = out + (size_t(plane) * OH + oh) * size_t(OW * C) + (ow * C + c);
LUCID_UNROLL
for (int i = 0; i < VEC; i++) {
  to[i] = from[i];
}
