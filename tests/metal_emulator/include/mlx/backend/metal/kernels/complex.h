// Replaces MLX's, whose members are overloaded on address spaces.
#pragma once

template <class T>
struct complex_t {
  T real;
  T imag;
  constexpr complex_t(T real, T imag = T(0)) : real(real), imag(imag) {}
};
typedef complex_t<float> complex64_t;
