// Relaxed atomics. Threads run one at a time here, so a plain access is atomic.
#pragma once

#include "scalars.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
  T value;
};

typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<float> atomic_float;

template <class T>
inline T atomic_load_explicit(const atomic<T>* object, memory_order) {
  return object->value;
}

template <class T>
inline void atomic_store_explicit(atomic<T>* object, T value, memory_order) {
  object->value = value;
}

template <class T>
inline T atomic_fetch_add_explicit(atomic<T>* object, T value, memory_order) {
  const T before = object->value;
  object->value = T(before + value);
  return before;
}

}  // namespace metal
