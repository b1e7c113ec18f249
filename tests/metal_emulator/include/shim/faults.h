// What ends a run: a fault of the kernel, found by the scheduler, by the processor or
// by a check that -fsanitize compiled into it.
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

extern "C" {
// There in a process that runs under the address sanitizer only.
void __asan_poison_memory_region(const volatile void*, size_t) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void*, size_t) __attribute__((weak));
}

namespace faults {

static char text[256];      // of the first fault, or empty
static sigjmp_buf escape;  // where a run goes on after a fault

inline void record(const char* what, int line = 0, int other_line = 0) {
  if (text[0]) return;
  int n = snprintf(text, sizeof text, "%s", what);
  if (line) n += snprintf(text + n, sizeof text - n, ", line %d", line);
  if (other_line) snprintf(text + n, sizeof text - n, " and %d", other_line);
}

// Leaves the kernel from any depth.
[[noreturn]] inline void fail(const char* what, int line = 0) {
  record(what, line);
  siglongjmp(escape, 1);
}

inline void on_signal(int number) {
  fail(number == SIGFPE ? "integer division by zero" : "access to unmapped memory");
}

// The processor's complaints become faults, for as long as this lives.
class SignalHandlers {
 public:
  SignalHandlers() {
    if (__asan_poison_memory_region) return;  // the sanitizer's report says more
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_NODEFER;
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &action, &before[i]);
  }
  ~SignalHandlers() {
    if (__asan_poison_memory_region) return;
    for (int i = 0; i < 3; i++) sigaction(numbers[i], &before[i], nullptr);
  }

 private:
  static constexpr int numbers[3] = {SIGSEGV, SIGBUS, SIGFPE};
  struct sigaction before[3];
};

struct SourceLocation {
  const char* file;
  uint32_t line, column;
};

}  // namespace faults

// The sanitizer's own library, where it is loaded, goes before these.
extern "C" {

void __ubsan_handle_type_mismatch_v1(faults::SourceLocation* where, void*) {
  faults::fail("misaligned access to memory", where->line);
}

void __ubsan_handle_out_of_bounds(faults::SourceLocation* where, void*) {
  faults::fail("index past the end of an array", where->line);
}

void __ubsan_handle_divrem_overflow(faults::SourceLocation* where, void*, void*) {
  faults::fail("integer division by zero", where->line);
}

void __ubsan_handle_shift_out_of_bounds(faults::SourceLocation* where, void*, void*) {
  faults::fail("shift by more bits than there are", where->line);
}

}  // extern "C"
