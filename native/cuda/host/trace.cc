#include "trace.h"

#include <cstdlib>
#include <stdexcept>

namespace cuda {

std::unique_ptr<Trace> Trace::open(const Driver& driver) {
  const char* const path = std::getenv("RXTUNE_CUDA_TRACE");
  if (path == nullptr || *path == 0) return nullptr;
  FILE* const file = std::fopen(path, "w");
  if (file == nullptr) throw std::runtime_error(std::string("RXTUNE_CUDA_TRACE: ") + path + " cannot be written");
  return std::unique_ptr<Trace>(new Trace(driver, file));
}

Trace::~Trace() {
  for (const Entry& each : entries)
    for (Handle event : {each.began, each.ended}) driver.cuEventDestroy_v2(event);
  for (Handle event : spare) driver.cuEventDestroy_v2(event);
  if (origin != nullptr) driver.cuEventDestroy_v2(origin);
  std::fclose(file);
}

Handle Trace::event() {
  if (spare.empty()) {
    Handle made = nullptr;
    check(driver, driver.cuEventCreate(&made, event_default), "an event");
    return made;
  }
  Handle const taken = spare.back();
  spare.pop_back();
  return taken;
}

void Trace::before(Handle stream) {
  if (entries.size() >= most) write(stream);
  if (origin == nullptr) {
    origin = event();
    check(driver, driver.cuEventRecord(origin, stream), "an event");
  }
  entries.push_back({event(), event(), ""});
  check(driver, driver.cuEventRecord(entries.back().began, stream), "an event");
}

void Trace::after(Handle stream, const std::string& what) {
  entries.back().what = what;
  check(driver, driver.cuEventRecord(entries.back().ended, stream), "an event");
}

void Trace::write(Handle stream) {
  check(driver, driver.cuStreamSynchronize(stream), "a kernel");
  const auto milliseconds = [&](Handle from, Handle to) {
    float found = 0;
    check(driver, driver.cuEventElapsedTime_v2(&found, from, to), "an event's time");
    return static_cast<double>(found);
  };
  for (const Entry& each : entries) {
    if (each.what.empty()) continue;  // it was not started
    std::fprintf(file, "%.1f %.1f %s\n", 1e3 * (origin_at + milliseconds(origin, each.began)), 1e3 * milliseconds(each.began, each.ended),
                 each.what.c_str());
  }
  std::fflush(file);
  // The next ones are told from the last of these: single precision would not tell microseconds of a long run.
  if (!entries.empty() && !entries.back().what.empty()) {
    origin_at += milliseconds(origin, entries.back().ended);
    std::swap(origin, entries.back().ended);
  }
  for (const Entry& each : entries) {
    spare.push_back(each.began);
    spare.push_back(each.ended);
  }
  entries.clear();
}

}  // namespace cuda
