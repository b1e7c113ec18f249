// vec<T, 2>, vec<T, 3> (which takes the room of four) and vec<T, 4>.
#pragma once

#include "scalars.h"

namespace metal {

template <class T, int N>
struct vec;

#define SHIM_INDEXING             \
  T& operator[](int i) {          \
    return (&x)[i];               \
  }                               \
  const T& operator[](int i) const { \
    return (&x)[i];               \
  }

template <class T>
struct alignas(2 * sizeof(T)) vec<T, 2> {
  T x, y;
  vec() = default;
  vec(T x, T y) : x(x), y(y) {}
  explicit vec(T all) : x(all), y(all) {}
  template <class U>
  explicit vec(const vec<U, 2>& o) : x(T(o.x)), y(T(o.y)) {}
  SHIM_INDEXING
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 3> {
  union {
    struct {
      T x, y, z;
    };
    vec<T, 2> xy;
  };
  vec() = default;
  vec(T x, T y, T z) : x(x), y(y), z(z) {}
  explicit vec(T all) : x(all), y(all), z(all) {}
  template <class U>
  explicit vec(const vec<U, 3>& o) : x(T(o.x)), y(T(o.y)), z(T(o.z)) {}
  SHIM_INDEXING
};

template <class T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  union {
    struct {
      T x, y, z, w;
    };
    struct {
      vec<T, 2> xy, zw;
    };
    vec<T, 3> xyz;
  };
  vec() = default;
  vec(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
  explicit vec(T all) : x(all), y(all), z(all), w(all) {}
  template <class U>
  explicit vec(const vec<U, 4>& o)
      : x(T(o.x)), y(T(o.y)), z(T(o.z)), w(T(o.w)) {}
  SHIM_INDEXING
};
#undef SHIM_INDEXING

// ---- Operators: vector and vector, vector and scalar, scalar and vector

template <class T, class U>
using scalar_for =
    std::enable_if_t<std::is_arithmetic<U>::value || std::is_same<T, U>::value>;

#define SHIM_OPERATOR(op)                                             \
  template <class T, int N>                                           \
  inline vec<T, N> operator op(vec<T, N> a, const vec<T, N>& b) {     \
    for (int i = 0; i < N; i++) a[i] = T(a[i] op b[i]);               \
    return a;                                                         \
  }                                                                   \
  template <class T, int N, class U, class = scalar_for<T, U>>        \
  inline vec<T, N> operator op(vec<T, N> a, U b) {                    \
    for (int i = 0; i < N; i++) a[i] = T(a[i] op T(b));               \
    return a;                                                         \
  }                                                                   \
  template <class T, int N, class U, class = scalar_for<T, U>>        \
  inline vec<T, N> operator op(U a, const vec<T, N>& b) {             \
    return vec<T, N>(T(a)) op b;                                      \
  }                                                                   \
  template <class T, int N, class U>                                  \
  inline vec<T, N>& operator op##=(vec<T, N>& a, const U& b) {        \
    a = a op b;                                                       \
    return a;                                                         \
  }
SHIM_OPERATOR(+)
SHIM_OPERATOR(-)
SHIM_OPERATOR(*)
SHIM_OPERATOR(/)
SHIM_OPERATOR(%)
SHIM_OPERATOR(&)
SHIM_OPERATOR(|)
#undef SHIM_OPERATOR

template <class T, int N>
inline vec<T, N> operator-(vec<T, N> a) {
  for (int i = 0; i < N; i++) a[i] = -a[i];
  return a;
}

#define SHIM_COMPARISON(op)                                                 \
  template <class T, int N>                                                 \
  inline vec<bool, N> operator op(const vec<T, N>& a, const vec<T, N>& b) { \
    vec<bool, N> result;                                                    \
    for (int i = 0; i < N; i++) result[i] = a[i] op b[i];                   \
    return result;                                                          \
  }
SHIM_COMPARISON(==)
SHIM_COMPARISON(!=)
SHIM_COMPARISON(<)
SHIM_COMPARISON(<=)
SHIM_COMPARISON(>)
SHIM_COMPARISON(>=)
#undef SHIM_COMPARISON

// ---- Names

#define SHIM_NAMES(T)        \
  typedef vec<T, 2> T##2;    \
  typedef vec<T, 3> T##3;    \
  typedef vec<T, 4> T##4;    \
  struct packed_##T##2 {     \
    T x, y;                  \
    packed_##T##2() = default; \
    packed_##T##2(const vec<T, 2>& v) : x(v.x), y(v.y) {} \
    operator vec<T, 2>() const { return vec<T, 2>(x, y); } \
  };                         \
  struct packed_##T##4 {     \
    T x, y, z, w;            \
    packed_##T##4() = default; \
    packed_##T##4(const vec<T, 4>& v) : x(v.x), y(v.y), z(v.z), w(v.w) {} \
    operator vec<T, 4>() const { return vec<T, 4>(x, y, z, w); } \
  };
SHIM_NAMES(float)
SHIM_NAMES(half)
SHIM_NAMES(bfloat)
SHIM_NAMES(int)
SHIM_NAMES(uint)
SHIM_NAMES(short)
SHIM_NAMES(ushort)
SHIM_NAMES(char)
SHIM_NAMES(uchar)
SHIM_NAMES(long)
SHIM_NAMES(ulong)
SHIM_NAMES(bool)
#undef SHIM_NAMES

}  // namespace metal
