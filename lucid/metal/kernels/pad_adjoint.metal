// out[n, d, h, w, c] = the sum of dy over the padded voxels that hold x[n, d, h, w, c]
//
// One thread: VEC adjacent channels of one voxel, gathered: no atomics, one order.
// Grid: (W * C / VEC, H, N * D). Template: T, MODE, VEC.

const int OD = dy_shape[1], OH = dy_shape[2], OW = dy_shape[3], C = dy_shape[4];
const int D = size[0], H = size[1], W = size[2];
const int h = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int w = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - w * (C / VEC)) * VEC;
const int n = plane / D, d = plane - n * D;

const lucid_copies in_d = lucid_copies_of<MODE>(d, D, before[0], OD - 1);
const lucid_copies in_h = lucid_copies_of<MODE>(h, H, before[1], OH - 1);
const lucid_copies in_w = lucid_copies_of<MODE>(w, W, before[2], OW - 1);
typename lucid_channels<VEC>::type sum(0.0f);
for (int i = 0; i < lucid_count(in_d); i++) {
  for (int j = 0; j < lucid_count(in_h); j++) {
    auto row =
        dy + (size_t(n * OD + lucid_at(in_d, i)) * OH + lucid_at(in_h, j)) * size_t(OW * C) + c;
    for (int k = 0; k < lucid_count(in_w); k++) {
      sum += lucid_channels<VEC>::load(row + lucid_at(in_w, k) * C);
    }
  }
}
device T* to = out + (size_t(plane) * H + h) * size_t(W * C) + (w * C + c);
lucid_channels<VEC>::store(to, sum);
