// out[split, kd, kh, kw, c, o] = sum of dy[..., o] * x[..., c of o's group] over the
// outputs of one split; the splits are summed afterwards: no atomics, one order.
//
// x (N, D, H, W, C), dy (N, OD, OH, OW, O), out (SPLITS, KD, KH, KW, C/groups, O).
// A split is a run of the N * OD * OH rows of dy. One thread: VEC adjacent output
// channels, LANES input channels, KB taps along W, over its split's rows.
// Grid: (O / VEC * C/groups / LANES, KD * KH * KW / KB, SPLITS): the threads of a
// threadgroup walk over the same rows, so that the caches serve all taps but the first.
// Template: T, MODE; KW, SW, DW: kernel, stride, dilation along W; KB divides KW; STEP
// divides the distance of any two positions that a thread reads; VEC; LANES; DEPTHWISE:
// one channel a group, VEC groups a thread; TW outputs at a time; LARGE: an array has
// 2^31 elements or more.

typedef lucid_channels<VEC> outputs;
typedef lucid_channels<DEPTHWISE ? VEC : LANES> inputs;
typedef typename lucid_offset<LARGE>::type offset;
constexpr int SPAN = ((TW - 1) * SW + (KB - 1) * DW) / STEP + 1;

const int D = x_shape[1], H = x_shape[2], W = x_shape[3], C = x_shape[4];
const int OD = dy_shape[1], OH = dy_shape[2], OW = dy_shape[3], O = dy_shape[4];
const int KD = size[0], KH = size[1], CG = size[2], rows_a_split = size[3];
const int split = int(thread_position_in_grid.z);
const int lane = int(thread_position_in_grid.x) / (O / VEC);
const int o = (int(thread_position_in_grid.x) - lane * (O / VEC)) * VEC;
const int tap = int(thread_position_in_grid.y) * KB;
const int kw = tap % KW, kh = tap / KW % KH, kd = tap / KW / KH;
const int first_channel = o / (O / (C / CG)) * CG + lane * LANES;
const int last = (OW - 1) * SW + (KW - 1) * DW;
const int rows = dy_shape[0] * OD * OH;
const int stop = metal::min(rows, (split + 1) * rows_a_split);

typename outputs::type sum[KB * LANES];
LUCID_UNROLL
for (int i = 0; i < KB * LANES; i++) {
  sum[i] = typename outputs::type(0.0f);
}
// Counted along with the row: three divisions would cost a third of a short row's work.
int oh = split * rows_a_split % OH, od = split * rows_a_split / OH % OD;
int n = split * rows_a_split / OH / OD;
for (int row = split * rows_a_split; row < stop; row++) {
  const int d = lucid_source<MODE>(od * stride[0] + kd * dilation[0] - before[0], D);
  const int h = lucid_source<MODE>(oh * stride[1] + kh * dilation[1] - before[1], H);
  const offset plane = offset(n * D + d) * H;
  oh++;
  if (oh == OH) {
    oh = 0;
    od++;
  }
  if (od == OD) {
    od = 0;
    n++;
  }
  if (d < 0 || h < 0) {
    continue;
  }
  const offset from = (plane + h) * (W * C) + first_channel;
  const offset gradient = offset(row) * (OW * O) + o;
  for (int ow = 0; ow < OW; ow += TW) {
    int column[SPAN];
    const int first = ow * SW + kw * DW;
    lucid_columns<MODE, SPAN, STEP>(column, first, last, before[2], W, C);
    typename inputs::type v[SPAN];
    LUCID_UNROLL
    for (int s = 0; s < SPAN; s++) {
      v[s] = column[s] < 0 ? typename inputs::type(0.0f)
                           : inputs::load(x + (from + column[s]));
    }
    LUCID_UNROLL
    for (int t = 0; t < TW; t++) {
      if (ow + t < OW) {
        const typename outputs::type g = outputs::load(dy + (gradient + (ow + t) * O));
        LUCID_UNROLL
        for (int k = 0; k < KB; k++) {
          LUCID_UNROLL
          for (int j = 0; j < LANES; j++) {
            const int s = (t * SW + k * DW) / STEP;
            sum[k * LANES + j] += lucid_factor<DEPTHWISE>::of(v[s], j) * g;
          }
        }
      }
    }
  }
}
LUCID_UNROLL
for (int k = 0; k < KB; k++) {
  LUCID_UNROLL
  for (int j = 0; j < LANES; j++) {
    const int channel = lane * LANES + j;
    device float* to = out +
        size_t(split * KD * KH * KW + tap + k) * size_t(CG * O) + (channel * O + o);
    outputs::store(to, sum[k * LANES + j]);
  }
}
