// Scalar types. The address spaces mean nothing here; lint/metal_stdlib checks them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <limits>
#include <type_traits>

#define device
#define constant
#define threadgroup
#define thread
#define kernel
#define METAL_FUNC inline
#define __METAL__ 1
#define __METAL_VERSION__ 320

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef _Float16 half;

namespace shim {
template <class To, class From>
inline To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as_type needs types of one size");
  To to;
  __builtin_memcpy((void*)&to, (const void*)&from, sizeof(To));
  return to;
}
}  // namespace shim

// Rounds to nearest, ties to even, after every operation.
struct bfloat {
  uint16_t bits;

  bfloat() = default;
  explicit constexpr bfloat(float value) : bits(rounded(value)) {}
  explicit constexpr bfloat(half value) : bits(rounded(float(value))) {}
  explicit constexpr bfloat(int value) : bits(rounded(float(value))) {}
  explicit constexpr bfloat(uint value) : bits(rounded(float(value))) {}
  constexpr operator float() const {
    return __builtin_bit_cast(float, uint32_t(bits) << 16);
  }

  static constexpr uint16_t rounded(float value) {
    const uint32_t u = __builtin_bit_cast(uint32_t, value);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
      return uint16_t((u >> 16) | 0x40);  // a quiet NaN stays one
    }
    return uint16_t((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
};

inline constexpr bfloat operator-(bfloat a) {
  return bfloat(-float(a));
}

#define SHIM_BFLOAT_OPERATOR(op)                         \
  inline constexpr bfloat operator op(bfloat a, bfloat b) { \
    return bfloat(float(a) op float(b));                 \
  }                                                      \
  inline bfloat& operator op##=(bfloat& a, float b) {    \
    a = bfloat(float(a) op b);                           \
    return a;                                            \
  }
SHIM_BFLOAT_OPERATOR(+)
SHIM_BFLOAT_OPERATOR(-)
SHIM_BFLOAT_OPERATOR(*)
SHIM_BFLOAT_OPERATOR(/)
#undef SHIM_BFLOAT_OPERATOR

namespace metal {
using std::conditional_t;
using std::enable_if_t;
using std::false_type;
using std::integral_constant;
using std::is_floating_point;
using std::is_integral;
using std::is_same;
using std::is_same_v;
using std::is_signed;
using std::is_unsigned;
using std::true_type;

template <class T>
struct numeric_limits : std::numeric_limits<T> {};

template <>
struct numeric_limits<half> {
  static constexpr half max() { return half(65504.0f); }
  static constexpr half lowest() { return half(-65504.0f); }
  static constexpr half min() { return half(6.103515625e-05f); }
  static constexpr half infinity() { return half(__builtin_inff()); }
  static constexpr half quiet_NaN() { return half(__builtin_nanf("")); }
};

template <>
struct numeric_limits<bfloat> {
  static constexpr bfloat max() { return bfloat(3.3895314e38f); }
  static constexpr bfloat lowest() { return bfloat(-3.3895314e38f); }
  static constexpr bfloat min() { return bfloat(1.1754944e-38f); }
  static constexpr bfloat infinity() { return bfloat(__builtin_inff()); }
  static constexpr bfloat quiet_NaN() { return bfloat(__builtin_nanf("")); }
};

template <class To, class From>
inline To as_type(From from) {
  return shim::bits_as<To>(from);
}
}  // namespace metal

using metal::as_type;
