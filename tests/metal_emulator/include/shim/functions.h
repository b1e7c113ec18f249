// Functions of scalars, and of vectors element by element.
#pragma once

#include "vectors.h"

namespace metal {

// ---- Arguments of one type, as in Metal: min(1, 2u) is an error

template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}

template <class T>
inline T clamp(T x, T low, T high) {
  return min(max(x, low), high);
}

template <class T>
inline T abs(T x) {
  return x < T(0) ? T(-x) : x;
}

template <class T>
inline T select(T if_false, T if_true, bool condition) {
  return condition ? if_true : if_false;
}

// ---- Functions of float, with a rounded form for half

#define SHIM_FUNCTION_1(name)                          \
  inline float name(float a) {                         \
    return __builtin_##name##f(a);                     \
  }                                                    \
  inline half name(half a) {                           \
    return half(__builtin_##name##f(float(a)));        \
  }
SHIM_FUNCTION_1(exp)
SHIM_FUNCTION_1(exp2)
SHIM_FUNCTION_1(log)
SHIM_FUNCTION_1(log2)
SHIM_FUNCTION_1(sqrt)
SHIM_FUNCTION_1(sin)
SHIM_FUNCTION_1(cos)
SHIM_FUNCTION_1(tanh)
SHIM_FUNCTION_1(fabs)
SHIM_FUNCTION_1(floor)
SHIM_FUNCTION_1(ceil)
SHIM_FUNCTION_1(round)
SHIM_FUNCTION_1(rint)
SHIM_FUNCTION_1(trunc)
#undef SHIM_FUNCTION_1

#define SHIM_FUNCTION_2(name)                                 \
  inline float name(float a, float b) {                       \
    return __builtin_##name##f(a, b);                         \
  }                                                           \
  inline half name(half a, half b) {                          \
    return half(__builtin_##name##f(float(a), float(b)));     \
  }
SHIM_FUNCTION_2(fmax)
SHIM_FUNCTION_2(fmin)
SHIM_FUNCTION_2(fmod)
SHIM_FUNCTION_2(pow)
SHIM_FUNCTION_2(atan2)
#undef SHIM_FUNCTION_2

inline float fma(float a, float b, float c) {
  return __builtin_fmaf(a, b, c);
}

inline half fma(half a, half b, half c) {
  return half(__builtin_fmaf(float(a), float(b), float(c)));
}

inline float rsqrt(float a) {
  return 1.0f / __builtin_sqrtf(a);
}

inline bool isnan(float a) {
  return __builtin_isnan(a);
}

inline bool isinf(float a) {
  return __builtin_isinf(a);
}

inline bool isfinite(float a) {
  return __builtin_isfinite(a);
}

// ---- Vectors

#define SHIM_ELEMENTWISE_2(name)                                      \
  template <class T, int N>                                           \
  inline vec<T, N> name(vec<T, N> a, const vec<T, N>& b) {            \
    for (int i = 0; i < N; i++) a[i] = name(a[i], b[i]);              \
    return a;                                                         \
  }
SHIM_ELEMENTWISE_2(min)
SHIM_ELEMENTWISE_2(max)
#undef SHIM_ELEMENTWISE_2

template <class T, int N>
inline vec<T, N> fma(const vec<T, N>& a, const vec<T, N>& b, vec<T, N> c) {
  for (int i = 0; i < N; i++) c[i] = fma(a[i], b[i], c[i]);
  return c;
}

template <class T, int N>
inline vec<T, N> select(vec<T, N> a, const vec<T, N>& b, const vec<bool, N>& c) {
  for (int i = 0; i < N; i++) a[i] = c[i] ? b[i] : a[i];
  return a;
}

template <class T, int N>
inline T dot(const vec<T, N>& a, const vec<T, N>& b) {
  T sum = T(a[0] * b[0]);
  for (int i = 1; i < N; i++) sum = T(sum + a[i] * b[i]);
  return sum;
}

template <int N>
inline bool any(const vec<bool, N>& a) {
  for (int i = 0; i < N; i++) {
    if (a[i]) return true;
  }
  return false;
}

template <int N>
inline bool all(const vec<bool, N>& a) {
  for (int i = 0; i < N; i++) {
    if (!a[i]) return false;
  }
  return true;
}

namespace precise {
using metal::atan2;
using metal::cos;
using metal::exp;
using metal::fma;
using metal::log;
using metal::sin;
using metal::sqrt;
}  // namespace precise

namespace fast = precise;

struct os_log {
  constexpr os_log(const char*, const char*) {}
  template <class... Arguments>
  void log_debug(const char*, Arguments...) const {}
};

}  // namespace metal
