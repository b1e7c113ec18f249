// The scheduler: one threadgroup at a time, its threads one after another, each on
// a fiber of its own where the kernel has barriers or SIMD-group functions.
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <numeric>
#include <vector>

#include "faults.h"
#include "scheduler.h"

namespace {

using faults::fail;
using faults::record;
using shim::SIMD_WIDTH;
using shim::Thread;

typedef void (*Kernel)(void* const* buffers, const Thread& thread);
enum Order { FORWARD, REVERSE, SHUFFLED };
enum State { RUNNABLE, AT_BARRIER, AT_SIMD_FUNCTION, DONE };

constexpr size_t STACK_SIZE = 256 * 1024;
constexpr size_t THREADGROUP_MEMORY = 32768;  // what Metal guarantees
constexpr size_t GUARD = 64;                  // after each threadgroup array

struct Fiber {
  ucontext_t context;
  char* stack = nullptr;
  State state;
  int line;
};

struct Array {  // in threadgroup memory
  const void* declaration;
  char* data;
  size_t size;
};

struct Scheduler {
  Kernel kernel;
  void* const* buffers;
  bool fibers;
  int order;
  unsigned char poison;
  Thread thread;
  int size = 0;     // threads in the current threadgroup
  int current = 0;  // index of the running thread
  std::vector<int> thread_order;
  std::vector<Fiber> fiber;
  ucontext_t main;
  std::vector<uint64_t> simd_slots;
  alignas(256) char memory[2 * THREADGROUP_MEMORY];
  std::vector<Array> arrays;
  size_t memory_top, memory_used;
} s;

// ---- Threadgroup memory

void reset_memory() {
  s.arrays.clear();
  s.memory_top = s.memory_used = 0;
}

void check_memory_guards() {
  for (const Array& array : s.arrays) {
    const char* guard = array.data + array.size;
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(guard, GUARD);
    for (size_t i = 0; i < GUARD; i++) {
      if ((unsigned char)guard[i] == s.poison) continue;
      return record("write past the end of a threadgroup array");
    }
  }
}

// ---- Subnormal floats, which the GPU takes and gives as zero; halves it keeps

#if defined(__x86_64__)
constexpr uint64_t FLUSH = 0x8040;  // of results and of operands
uint64_t rounding() { return _mm_getcsr(); }
void set_rounding(uint64_t mode) { _mm_setcsr(unsigned(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t FLUSH = 1 << 24;
uint64_t rounding() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_rounding(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
#error "how does this processor flush subnormal floats?"
#endif

// ---- Threads of one threadgroup

void run_thread(int index) {
  Thread& t = s.thread;
  t.index = index;
  t.position[0] = index % t.size[0];
  t.position[1] = index / t.size[0] % t.size[1];
  t.position[2] = index / (t.size[0] * t.size[1]);
  for (int i = 0; i < 3; i++) {
    t.position_in_grid[i] = t.group[i] * t.dispatched[i] + t.position[i];
  }
  s.current = index;
  s.kernel(s.buffers, t);
}

void fiber_entry() {
  const int index = s.current;
  run_thread(index);
  s.fiber[index].state = DONE;
  swapcontext(&s.fiber[index].context, &s.main);
}

void start_fibers() {
  if (int(s.fiber.size()) < s.size) s.fiber.resize(s.size);
  s.simd_slots.resize((s.size + SIMD_WIDTH - 1) / SIMD_WIDTH * SIMD_WIDTH);
  for (int i = 0; i < s.size; i++) {
    Fiber& fiber = s.fiber[i];
    if (!fiber.stack) fiber.stack = (char*)malloc(STACK_SIZE);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK_SIZE;
    fiber.context.uc_link = nullptr;
    fiber.state = RUNNABLE;
    makecontext(&fiber.context, fiber_entry, 0);
  }
}

// Lets the threads of [first, last) go on where all that still run wait alike.
bool release(int first, int last, State waiting) {
  int line = 0;
  for (int i = first; i < last; i++) {
    const Fiber& fiber = s.fiber[i];
    if (fiber.state == DONE) continue;
    if (fiber.state != waiting) return false;
    if (line && line != fiber.line) return false;
    line = fiber.line;
  }
  for (int i = first; i < last; i++) {
    if (s.fiber[i].state == waiting) s.fiber[i].state = RUNNABLE;
  }
  return line != 0;
}

bool release_barrier() {
  int done = 0, waiting = 0, line = 0, other_line = 0;
  for (int i = 0; i < s.size; i++) {
    const Fiber& fiber = s.fiber[i];
    done += fiber.state == DONE;
    if (fiber.state != AT_BARRIER) continue;
    waiting++;
    if (!line) line = fiber.line;
    if (line != fiber.line) other_line = fiber.line;
  }
  if (waiting + done < s.size || !waiting) return false;
  if (done) {
    record("a thread returned before a barrier that others wait at", line);
  } else if (other_line) {
    record("threads wait at different barriers", line, other_line);
  }
  return release(0, s.size, AT_BARRIER);
}

void run_fibers() {
  start_fibers();
  for (;;) {
    for (int i : s.thread_order) {
      if (s.fiber[i].state != RUNNABLE) continue;
      s.current = i;
      swapcontext(&s.main, &s.fiber[i].context);
    }
    bool done = true;
    for (int i = 0; i < s.size; i++) done = done && s.fiber[i].state == DONE;
    if (done) return;
    bool progress = release_barrier();
    for (int first = 0; first < s.size; first += SIMD_WIDTH) {
      const int last = std::min(first + SIMD_WIDTH, s.size);
      progress = release(first, last, AT_SIMD_FUNCTION) || progress;
    }
    if (faults::text[0]) return;
    if (!progress) {
      return record("a barrier or SIMD-group function that not all threads reach");
    }
  }
}

// ---- Threadgroups of the grid

void permute(std::vector<int>& order, int n, unsigned seed) {
  order.resize(n);
  std::iota(order.begin(), order.end(), 0);
  if (s.order == REVERSE) std::reverse(order.begin(), order.end());
  if (s.order != SHUFFLED) return;
  for (int i = n - 1; i > 0; i--) {
    seed = seed * 1664525u + 1013904223u;
    std::swap(order[i], order[(seed >> 8) % unsigned(i + 1)]);
  }
}

void run_threadgroup(unsigned group) {
  Thread& t = s.thread;
  t.group[0] = group % t.groups[0];
  t.group[1] = group / t.groups[0] % t.groups[1];
  t.group[2] = group / (t.groups[0] * t.groups[1]);
  s.size = 1;
  for (int i = 0; i < 3; i++) {
    t.size[i] = std::min(t.dispatched[i], t.grid[i] - t.group[i] * t.dispatched[i]);
    s.size *= t.size[i];
  }
  reset_memory();
  if (s.order == SHUFFLED || s.size != int(s.thread_order.size())) {
    permute(s.thread_order, s.size, group * 2654435761u);
  }
  if (s.fibers) {
    run_fibers();
  } else {
    for (int i : s.thread_order) run_thread(i);
  }
  check_memory_guards();
}

}  // namespace

extern "C" {

// Returns an error's text, or null.
const char* shim_launch(
    Kernel kernel, void* const* buffers, const unsigned* grid,
    const unsigned* threadgroup, bool fibers, int order, int poison) {
  s.kernel = kernel;
  s.buffers = buffers;
  s.fibers = fibers;
  s.order = order;
  s.poison = poison;
  faults::text[0] = 0;
  s.thread_order.clear();
  unsigned total = 1;
  Thread& t = s.thread;
  for (int i = 0; i < 3; i++) {
    t.grid[i] = grid[i];
    t.dispatched[i] = std::min(threadgroup[i], grid[i]);  // as MLX does
    t.groups[i] = (grid[i] + t.dispatched[i] - 1) / t.dispatched[i];
    total *= t.groups[i];
  }
  static std::vector<int> group_order;
  permute(group_order, total, 1);
  const uint64_t mode = rounding();
  set_rounding(mode | FLUSH);
  faults::SignalHandlers handlers;
  if (!sigsetjmp(faults::escape, 1)) {
    for (int group : group_order) {
      run_threadgroup(group);
      if (faults::text[0]) break;
    }
  }
  set_rounding(mode);
  return faults::text[0] ? faults::text : nullptr;
}

// ---- What a kernel calls

namespace shim {

void shim_wait(Waiting what, int line) {
  Fiber& fiber = s.fiber[s.current];
  fiber.state = what == FOR_THREADGROUP ? AT_BARRIER : AT_SIMD_FUNCTION;
  fiber.line = line;
  swapcontext(&fiber.context, &s.main);
}

void* shim_threadgroup_memory(const void* declaration, size_t size) {
  for (const Array& array : s.arrays) {
    if (array.declaration == declaration) return array.data;
  }
  s.memory_used += size;
  if (s.memory_used > THREADGROUP_MEMORY) {
    fail("more than 32 KiB of threadgroup memory");
  }
  if (s.memory_top + size + GUARD + 16 > sizeof s.memory) fail("too many arrays");
  char* data = s.memory + s.memory_top;
  s.memory_top += (size + GUARD + 15) / 16 * 16;
  s.arrays.push_back({declaration, data, size});
  if (__asan_poison_memory_region) __asan_unpoison_memory_region(data, size + GUARD);
  memset(data, s.poison, size + GUARD);
  if (__asan_poison_memory_region) __asan_poison_memory_region(data + size, GUARD);
  return data;
}

uint64_t* shim_simd_slots() {
  return &s.simd_slots[s.current / SIMD_WIDTH * SIMD_WIDTH];
}

int shim_lane() {
  return s.current % SIMD_WIDTH;
}

bool shim_lane_is_active(int lane) {
  const int index = s.current / SIMD_WIDTH * SIMD_WIDTH + lane;
  return index < s.size && s.fiber[index].state != DONE;
}

}  // namespace shim

}  // extern "C"
