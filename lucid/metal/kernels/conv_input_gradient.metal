// out[n, d, h, w, c] = sum of dy * w over every output and tap that reads the voxel
//
// dy (N, OD, OH, OW, O), w (KD, KH, KW, C/groups, O), out (N, D, H, W, C). A voxel is
// read at its own padded position and, but for zeros, at the copies that padding makes.
// One thread: VEC adjacent input channels of TW padded positions along W, the first at or
// right before the first voxel. With SHARED, TW and the first position are multiples of
// the stride: which taps meet which position is known when compiled.
// Grid: (strips that meet the W voxels * C / VEC, H, N * D).
// Template: T, MODE; KW, SW, DW: kernel, stride, dilation along W; SHARED: a strip loads
// an output gradient once for all taps; VEC; LANES output channels a load; DEPTHWISE;
// LARGE: a volume or the weight has 2^31 elements or more.

typedef lucid_channels<VEC> outputs;
typedef lucid_channels<DEPTHWISE ? VEC : LANES> inputs;
typedef typename lucid_offset<LARGE>::type offset;
constexpr int LOW = (KW - 1) * DW / SW;
constexpr int SPAN = (TW - 1) / SW + LOW + 1;

const int OD = dy_shape[1], OH = dy_shape[2], OW = dy_shape[3], O = dy_shape[4];
const int KD = w_shape[0], KH = w_shape[1], CG = w_shape[3];
const int D = size[0], H = size[1], W = size[2], C = size[3];
const int h = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int strip = int(thread_position_in_grid.x) / (C / VEC);
const int c = (int(thread_position_in_grid.x) - strip * (C / VEC)) * VEC;
const int n = plane / D, d = plane - n * D;
const int group = c / CG, OG = O / (C / CG);
const int start = before[2] / SW * SW + strip * TW;
const int last_d = (OD - 1) * stride[0] + (KD - 1) * dilation[0];
const int last_h = (OH - 1) * stride[1] + (KH - 1) * dilation[1];
const int last_w = (OW - 1) * SW + (KW - 1) * DW;
const lucid_copies in_d = lucid_copies_of<MODE>(d, D, before[0], last_d);
const lucid_copies in_h = lucid_copies_of<MODE>(h, H, before[1], last_h);

typename outputs::type sum[TW];
LUCID_UNROLL
for (int t = 0; t < TW; t++) {
  sum[t] = typename outputs::type(0.0f);
}
// One address of 64 bits for the volume; all else is an offset.
auto volume = dy + size_t(n) * size_t(offset(OD * OH) * (OW * O)) + group * OG;
for (int id = 0; id < lucid_count(in_d) * KD; id++) {
  const int kd = id % KD;
  const int od = lucid_output(lucid_at(in_d, id / KD), kd * dilation[0], stride[0], OD);
  if (od < 0) {
    continue;
  }
  for (int ih = 0; ih < lucid_count(in_h) * KH; ih++) {
    const int kh = ih % KH;
    const int oh = lucid_output(lucid_at(in_h, ih / KH), kh * dilation[1], stride[1], OH);
    if (oh < 0) {
      continue;
    }
    const offset row = offset(od * OH + oh) * (OW * O);
    const offset tap = offset((kd * KH + kh) * KW) * (CG * O) +
        ((c - group * CG) * O + group * OG);
    for (int o = 0; SHARED && o < OG; o += LANES) {
      typename inputs::type v[SPAN];
      LUCID_UNROLL
      for (int s = 0; s < SPAN; s++) {
        const int ow = start / SW - LOW + s;
        v[s] = ow < 0 || ow >= OW ? typename inputs::type(0.0f)
                                  : inputs::load(volume + (row + (ow * O + o)));
      }
      LUCID_UNROLL
      for (int k = 0; k < KW; k++) {
        LUCID_UNROLL
        for (int i = 0; i < (DEPTHWISE ? 1 : VEC); i++) {
          const typename inputs::type weight =
              inputs::load(w + (tap + (k * CG + i) * O + o));
          LUCID_UNROLL
          for (int t = 0; t < TW; t++) {
            if ((t - k * DW) % SW == 0) {
              lucid_product<DEPTHWISE, LANES>::add(
                  sum[t], i, v[(t - k * DW) / SW + LOW], weight);
            }
          }
        }
      }
    }
    // The copies along W, few and at the borders; without SHARED, everything.
    LUCID_UNROLL
    for (int t = 0; t < (SHARED && MODE == LUCID_ZEROS ? 0 : TW); t++) {
      const int i = start + t - before[2];
      if (i < 0 || i >= W) {
        continue;
      }
      const lucid_copies in_w = lucid_copies_of<MODE>(i, W, before[2], last_w);
      for (int iw = SHARED ? KW : 0; iw < lucid_count(in_w) * KW; iw++) {
        const int k = iw % KW;
        const int ow = lucid_output(lucid_at(in_w, iw / KW), k * DW, SW, OW);
        for (int o = 0; ow >= 0 && o < OG; o += LANES) {
          const typename inputs::type v = inputs::load(volume + (row + (ow * O + o)));
          for (int j = 0; j < (DEPTHWISE ? 1 : VEC); j++) {
            lucid_product<DEPTHWISE, LANES>::add(
                sum[t], j, v, inputs::load(w + (tap + (k * CG + j) * O + o)));
          }
        }
      }
    }
  }
}
LUCID_UNROLL
for (int t = 0; t < TW; t++) {
  const int i = start + t - before[2];
  if (i >= 0 && i < W) {
    device T* to = out + ((size_t(plane) * H + h) * W + i) * C + c;
    outputs::store(to, sum[t]);
  }
}
