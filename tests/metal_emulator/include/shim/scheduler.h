// What a compiled kernel and runtime.cpp know of each other.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace shim {

constexpr int SIMD_WIDTH = 32;

// Where a GPU thread stands; the driver makes a kernel's attributes of it.
struct Thread {
  unsigned grid[3];              // threads_per_grid
  unsigned dispatched[3];        // the threadgroup that was asked for
  unsigned groups[3];            // threadgroups_per_grid
  unsigned group[3];             // threadgroup_position_in_grid
  unsigned size[3];              // of this threadgroup, smaller at the edge
  unsigned position[3];          // thread_position_in_threadgroup
  unsigned position_in_grid[3];  // thread_position_in_grid
  unsigned index;                // thread_index_in_threadgroup
};

enum Waiting { FOR_THREADGROUP, FOR_SIMDGROUP };

extern "C" {
void shim_wait(Waiting what, int line);
void* shim_threadgroup_memory(const void* declaration, size_t size);
uint64_t* shim_simd_slots();  // one a lane, of the current thread's SIMD-group
int shim_lane();
bool shim_lane_is_active(int lane);
}

}  // namespace shim
