// Shared by every kernel. Arrays are channels-last: (N, D, H, W, C).

// For loops whose bounds are constants: arrays that they index then stay in registers.
#define LUCID_UNROLL _Pragma("clang loop unroll(full)")

enum { LUCID_ZEROS, LUCID_REFLECT, LUCID_REPLICATE, LUCID_CIRCULAR };

// Two or four elements by one load or store, aligned as a single one, since a view may
// start at any element. The compiler joins none of its own accord.
template <typename T>
struct lucid_wide;

template <>
struct lucid_wide<float> {
  static float2 two(const device float* p) {
    return *(const device packed_float2*)p;
  }
  static float4 four(const device float* p) {
    return *(const device packed_float4*)p;
  }
  static void put(device float* p, float2 v) {
    *(device packed_float2*)p = v;
  }
  static void put(device float* p, float4 v) {
    *(device packed_float4*)p = v;
  }
};

template <>
struct lucid_wide<half> {
  static float2 two(const device half* p) {
    const half2 v = *(const device packed_half2*)p;
    return float2(float(v.x), float(v.y));
  }
  static float4 four(const device half* p) {
    const half4 v = *(const device packed_half4*)p;
    return float4(float(v.x), float(v.y), float(v.z), float(v.w));
  }
  static void put(device half* p, float2 v) {
    half2 rounded = half2(half(v.x));
    rounded.y = half(v.y);
    *(device packed_half2*)p = rounded;
  }
  static void put(device half* p, float4 v) {
    half4 rounded = half4(half(v.x));
    rounded.y = half(v.y);
    rounded.z = half(v.z);
    rounded.w = half(v.w);
    *(device packed_half4*)p = rounded;
  }
};

// A bfloat16 is the first half of a float32.
inline float lucid_from_bits(ushort bits) {
  return as_type<float>(uint(bits) << 16);
}

inline ushort lucid_to_bits(float v) {
  return as_type<ushort>(bfloat16_t(v));
}

template <>
struct lucid_wide<bfloat16_t> {
  static float2 two(const device bfloat16_t* p) {
    const ushort2 v = *(const device packed_ushort2*)p;
    return float2(lucid_from_bits(v.x), lucid_from_bits(v.y));
  }
  static float4 four(const device bfloat16_t* p) {
    const ushort4 v = *(const device packed_ushort4*)p;
    return float4(
        lucid_from_bits(v.x),
        lucid_from_bits(v.y),
        lucid_from_bits(v.z),
        lucid_from_bits(v.w));
  }
  static void put(device bfloat16_t* p, float2 v) {
    ushort2 rounded = ushort2(lucid_to_bits(v.x));
    rounded.y = lucid_to_bits(v.y);
    *(device packed_ushort2*)p = rounded;
  }
  static void put(device bfloat16_t* p, float4 v) {
    ushort4 rounded = ushort4(lucid_to_bits(v.x));
    rounded.y = lucid_to_bits(v.y);
    rounded.z = lucid_to_bits(v.z);
    rounded.w = lucid_to_bits(v.w);
    *(device packed_ushort4*)p = rounded;
  }
};

// N adjacent channels as floats. What is no device memory has fewer than eight elements.
template <int N>
struct lucid_channels;

template <>
struct lucid_channels<1> {
  typedef float type;
  template <typename P>
  static type load(P p) {
    return float(p[0]);
  }
  template <typename T>
  static void store(device T* p, type v) {
    p[0] = T(v);
  }
};

template <>
struct lucid_channels<2> {
  typedef float2 type;
  template <typename P>
  static type load(P p) {
    return float2(float(p[0]), float(p[1]));
  }
  template <typename T>
  static type load(const device T* p) {
    return lucid_wide<T>::two(p);
  }
  template <typename T>
  static void store(device T* p, type v) {
    lucid_wide<T>::put(p, v);
  }
};

template <>
struct lucid_channels<4> {
  typedef float4 type;
  template <typename P>
  static type load(P p) {
    return float4(float(p[0]), float(p[1]), float(p[2]), float(p[3]));
  }
  template <typename T>
  static type load(const device T* p) {
    return lucid_wide<T>::four(p);
  }
  template <typename T>
  static void store(device T* p, type v) {
    lucid_wide<T>::put(p, v);
  }
};

// What the j-th of the contracted channels contributes: all of a depthwise vector,
// which meets its weights channel by channel, or one number of a group's.
template <bool DEPTHWISE>
struct lucid_factor {
  template <typename V>
  static V of(V v, int) {
    return v;
  }
};

template <>
struct lucid_factor<false> {
  static float of(float v, int) {
    return v;
  }
  static float of(float2 v, int j) {
    return v[j];
  }
  static float of(float4 v, int j) {
    return v[j];
  }
};

// Adds the product of two runs of contracted channels to the i-th computed one; or, of
// a depthwise vector, channel by channel to all.
template <bool DEPTHWISE, int LANES>
struct lucid_product {
  template <typename V>
  static void add(thread V& sum, int, V v, V weight) {
    sum += v * weight;
  }
};

template <int LANES>
struct lucid_product<false, LANES> {
  template <typename V>
  static float plus(float sum, V v, V weight) {
    LUCID_UNROLL
    for (int j = 0; j < LANES; j++) {
      sum += lucid_factor<false>::of(v, j) * lucid_factor<false>::of(weight, j);
    }
    return sum;
  }
  template <typename V>
  static void add(thread float& sum, int, V v, V weight) {
    sum = plus(sum, v, weight);
  }
  template <typename S, typename V>
  static void add(thread S& sum, int i, V v, V weight) {
    sum[i] = plus(sum[i], v, weight);
  }
};

// An offset within an array: a product of 64 bits costs a GPU 16 times one of 32.
template <bool LARGE>
struct lucid_offset {
  typedef int type;
};

template <>
struct lucid_offset<true> {
  typedef long type;
};

// The voxel of an axis of n that padding puts at position i (from the first voxel,
// negative before it), or -1 for a zero. Reflect: 0 <= pad < n; circular: pad <= n.
template <int MODE>
inline int lucid_source(int i, int n) {
  if (MODE == LUCID_REFLECT) {
    const int from_start = i < 0 ? -i : i;
    return from_start >= n ? 2 * (n - 1) - from_start : from_start;
  }
  if (MODE == LUCID_REPLICATE) {
    return metal::min(metal::max(i, 0), n - 1);
  }
  if (MODE == LUCID_CIRCULAR) {
    return i < 0 ? i + n : (i >= n ? i - n : i);
  }
  return i < 0 || i >= n ? -1 : i;
}

// Where a row's voxels lie that a strip of SPAN positions reads, STEP apart: offsets of
// their first channels, or -1 for a zero.
template <int MODE, int SPAN, int STEP>
inline void lucid_columns(
    thread int* column, int first, int last, int before, int W, int C) {
  LUCID_UNROLL
  for (int s = 0; s < SPAN; s++) {
    const int q = first + s * STEP;
    const int w = q > last ? -1 : lucid_source<MODE>(q - before, W);
    column[s] = w < 0 ? -1 : w * C;
  }
}

// The padded positions that hold one voxel: its own, then a run of copies on each side.
struct lucid_copies {
  int own;
  int left;
  int left_count;
  int right;
  int right_count;
};

inline int lucid_count(lucid_copies c) {
  return 1 + c.left_count + c.right_count;
}

inline int lucid_at(lucid_copies c, int k) {
  if (k == 0) {
    return c.own;
  }
  return k <= c.left_count ? c.left + k - 1 : c.right + k - 1 - c.left_count;
}

// The inverse of lucid_source: where voxel i of n goes, with `before` voxels of padding
// in front of the axis and `last` its last padded position.
template <int MODE>
inline lucid_copies lucid_copies_of(int i, int n, int before, int last) {
  lucid_copies c = {i + before, 0, 0, 0, 0};
  if (MODE == LUCID_REFLECT) {
    c.left = before - i;
    c.left_count = i >= 1 && i <= before ? 1 : 0;
    c.right = before + 2 * (n - 1) - i;
    c.right_count = i <= n - 2 && c.right <= last ? 1 : 0;
  }
  if (MODE == LUCID_REPLICATE) {
    c.left_count = i == 0 ? before : 0;
    c.right = before + n;
    c.right_count = i == n - 1 ? metal::max(last - c.right + 1, 0) : 0;
  }
  if (MODE == LUCID_CIRCULAR) {
    c.left = before + i - n;
    c.left_count = c.left >= 0 ? 1 : 0;
    c.right = before + n + i;
    c.right_count = c.right <= last ? 1 : 0;
  }
  return c;
}

// The output that reads padded position q with a tap at `offset`, or -1.
inline int lucid_output(int q, int offset, int stride, int size) {
  const int rest = q - offset;
  if (rest < 0 || rest % stride != 0) {
    return -1;
  }
  const int output = rest / stride;
  return output < size ? output : -1;
}
