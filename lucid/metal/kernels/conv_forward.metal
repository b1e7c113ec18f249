// out[n, od, oh, ow, o] = b[o] + sum of x * w over taps and the channels of o's group
//
// x (N, D, H, W, C), w (KD, KH, KW, C/groups, O), b (O), out (N, OD, OH, OW, O).
// One thread: VEC adjacent output channels of TW outputs along W, so that an input is
// loaded once for all the taps of a chunk of KB that it meets.
// Grid: (ceil(OW / TW) * O / VEC, OH, N * OD).
// Template: T, MODE; KW, SW, DW: kernel, stride, dilation along W; KB divides KW; STEP
// divides the distance of any two positions that a chunk reads; VEC; LANES input
// channels a load; DEPTHWISE: one channel a group, VEC groups a thread; LARGE: a volume
// or the weight has 2^31 elements or more; BIASED: otherwise b is not read.

typedef lucid_channels<VEC> outputs;
typedef lucid_channels<DEPTHWISE ? VEC : LANES> inputs;
typedef typename lucid_offset<LARGE>::type offset;
constexpr int SPAN = ((TW - 1) * SW + (KB - 1) * DW) / STEP + 1;

const int D = x_shape[1], H = x_shape[2], W = x_shape[3], C = x_shape[4];
const int KD = w_shape[0], KH = w_shape[1], CG = w_shape[3], O = w_shape[4];
const int OD = size[0], OH = size[1], OW = size[2];
const int oh = int(thread_position_in_grid.y);
const int plane = int(thread_position_in_grid.z);
const int strip = int(thread_position_in_grid.x) / (O / VEC);
const int o = (int(thread_position_in_grid.x) - strip * (O / VEC)) * VEC;
const int n = plane / OD, od = plane - n * OD, ow = strip * TW;
const int first_channel = o / (O / (C / CG)) * CG;
const int last = (OW - 1) * SW + (KW - 1) * DW;

typename outputs::type sum[TW];
LUCID_UNROLL
for (int t = 0; t < TW; t++) {
  sum[t] = BIASED ? outputs::load(b + o) : typename outputs::type(0.0f);
}
// One address of 64 bits for the volume; all else is an offset.
auto volume = x + size_t(n) * size_t(offset(D * H) * (W * C)) + first_channel;
int column[SPAN];
lucid_columns<MODE, SPAN, STEP>(column, ow * SW, last, before[2], W, C);
for (int kd = 0; kd < KD; kd++) {
  const int d = lucid_source<MODE>(od * stride[0] + kd * dilation[0] - before[0], D);
  if (d < 0) {
    continue;
  }
  for (int kh = 0; kh < KH; kh++) {
    const int h = lucid_source<MODE>(oh * stride[1] + kh * dilation[1] - before[1], H);
    if (h < 0) {
      continue;
    }
    const offset row = offset(d * H + h) * (W * C);
    for (int chunk = 0; chunk < KW; chunk += KB) {
      if (KB < KW) {
        const int first = ow * SW + chunk * DW;
        lucid_columns<MODE, SPAN, STEP>(column, first, last, before[2], W, C);
      }
      const offset tap = offset((kd * KH + kh) * KW + chunk) * (CG * O) + o;
      for (int c = 0; c < CG; c += LANES) {
        typename inputs::type v[SPAN];
        LUCID_UNROLL
        for (int s = 0; s < SPAN; s++) {
          v[s] = column[s] < 0 ? typename inputs::type(0.0f)
                               : inputs::load(volume + (row + (column[s] + c)));
        }
        LUCID_UNROLL
        for (int k = 0; k < KB; k++) {
          LUCID_UNROLL
          for (int j = 0; j < LANES; j++) {
            const typename outputs::type weight =
                outputs::load(w + (tap + (k * CG + c + j) * O));
            LUCID_UNROLL
            for (int t = 0; t < TW; t++) {
              const int s = (t * SW + k * DW) / STEP;
              sum[t] += lucid_factor<DEPTHWISE>::of(v[s], j) * weight;
            }
          }
        }
      }
    }
  }
}
device T* to = out + ((size_t(plane) * OH + oh) * OW + ow) * O + o;
LUCID_UNROLL
for (int t = 0; t < TW; t++) {
  if (ow + t < OW) {
    outputs::store(to + t * O, sum[t]);
  }
}
