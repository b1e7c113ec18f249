// Barriers, SIMD-groups and threadgroup memory, on the scheduler of runtime.cpp.
#pragma once

#include "scheduler.h"
#include "vectors.h"

namespace shim {

inline metal::uint3 triple(const unsigned (&v)[3]) {
  return metal::uint3(v[0], v[1], v[2]);
}

template <class T>
inline T& threadgroup_array(const void* declaration) {
  return *(T*)shim_threadgroup_memory(declaration, sizeof(T));
}

// Publishes a value to the SIMD-group and evaluates combine(read) once all did.
template <class T, class F>
inline T exchange(T value, int line, F combine) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a slot has eight bytes");
  uint64_t* slots = shim_simd_slots();
  __builtin_memcpy(&slots[shim_lane()], (const void*)&value, sizeof(T));
  shim_wait(FOR_SIMDGROUP, line);
  const T result = combine([slots](int lane) {
    T read;
    __builtin_memcpy((void*)&read, &slots[lane % SIMD_WIDTH], sizeof(T));
    return read;
  });
  shim_wait(FOR_SIMDGROUP, -line);
  return result;
}

template <class T, class F>
inline T reduce(T value, int first, int last, T empty, int line, F combine) {
  return exchange(value, line, [=](auto read) {
    T total = empty;
    bool started = false;
    for (int lane = first; lane < last; lane++) {
      if (!shim_lane_is_active(lane)) continue;
      total = started ? T(combine(total, read(lane))) : read(lane);
      started = true;
    }
    return total;
  });
}

}  // namespace shim

namespace metal {

enum class mem_flags { mem_none, mem_device, mem_threadgroup, mem_texture };

inline void threadgroup_barrier(mem_flags, int line = __builtin_LINE()) {
  shim::shim_wait(shim::FOR_THREADGROUP, line);
}

inline void simdgroup_barrier(mem_flags, int line = __builtin_LINE()) {
  shim::shim_wait(shim::FOR_SIMDGROUP, line);
}

// ---- Reductions over the active lanes

#define SHIM_REDUCTION(name, first, last, expression)                       \
  template <class T>                                                        \
  inline T name(T value, int line = __builtin_LINE()) {                     \
    const int lane = shim::shim_lane();                                     \
    (void)lane;                                                             \
    return shim::reduce(                                                    \
        value, first, last, T(0), line, [](T a, T b) { return expression; }); \
  }
SHIM_REDUCTION(simd_sum, 0, shim::SIMD_WIDTH, a + b)
SHIM_REDUCTION(simd_product, 0, shim::SIMD_WIDTH, a* b)
SHIM_REDUCTION(simd_max, 0, shim::SIMD_WIDTH, b > a ? b : a)
SHIM_REDUCTION(simd_min, 0, shim::SIMD_WIDTH, b < a ? b : a)
SHIM_REDUCTION(simd_prefix_inclusive_sum, 0, lane + 1, a + b)
SHIM_REDUCTION(simd_prefix_exclusive_sum, 0, lane, a + b)
#undef SHIM_REDUCTION

// ---- Shuffles; from a lane outside the group, the thread's own value or `fill`

#define SHIM_SHUFFLE(name, from)                                         \
  template <class T>                                                     \
  inline T name(T value, ushort n, int line = __builtin_LINE()) {        \
    const int lane = shim::shim_lane();                                  \
    (void)lane;                                                          \
    const int source = from;                                             \
    return shim::exchange(value, line, [=](auto read) {                  \
      const bool inside = source >= 0 && source < shim::SIMD_WIDTH;      \
      return inside ? read(source) : value;                              \
    });                                                                  \
  }
SHIM_SHUFFLE(simd_shuffle, n)
SHIM_SHUFFLE(simd_broadcast, n)
SHIM_SHUFFLE(simd_shuffle_xor, lane ^ n)
SHIM_SHUFFLE(simd_shuffle_down, lane + n)
SHIM_SHUFFLE(simd_shuffle_up, lane - n)
#undef SHIM_SHUFFLE

#define SHIM_SHUFFLE_AND_FILL(name, from)                                \
  template <class T>                                                     \
  inline T name(T value, T fill, ushort n, int line = __builtin_LINE()) { \
    const int source = shim::shim_lane() from n;                         \
    return shim::exchange(value, line, [=](auto read) {                  \
      const bool inside = source >= 0 && source < shim::SIMD_WIDTH;      \
      return inside ? read(source) : fill;                               \
    });                                                                  \
  }
SHIM_SHUFFLE_AND_FILL(simd_shuffle_and_fill_down, +)
SHIM_SHUFFLE_AND_FILL(simd_shuffle_and_fill_up, -)
#undef SHIM_SHUFFLE_AND_FILL

}  // namespace metal
