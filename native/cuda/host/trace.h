// How long each kernel and product runs on the card, for bench/gpu/trace.mjs: RXTUNE_CUDA_TRACE names the file.
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "driver.h"

namespace cuda {

class Trace {
 public:
  // Null unless the environment asks for it. Throws std::runtime_error where the file cannot be written.
  static std::unique_ptr<Trace> open(const Driver& driver);
  ~Trace();
  Trace(const Trace&) = delete;

  // Around what is started: events are recorded before and after it.
  void before(Handle stream);
  void after(Handle stream, const std::string& what);
  // Waits for all that was started, and writes a line for each: microseconds from the first to its start, its own, what it was.
  void write(Handle stream);

 private:
  struct Entry {
    Handle began, ended;
    std::string what;
  };
  // Events are kept until so many entries have come.
  static constexpr size_t most = 8192;

  Trace(const Driver& driver, FILE* file) : driver(driver), file(file) {}
  Handle event();

  const Driver& driver;
  FILE* const file;
  std::vector<Entry> entries;
  std::vector<Handle> spare;
  // The first event of those not written yet, and when it was.
  Handle origin = nullptr;
  double origin_at = 0;
};

}  // namespace cuda
