// A stand-in for libcuda and libcublasLt on a machine without a card: the same kernel files, emulated on the processor, behind the
// functions of the driver that the engine calls. It behaves as asynchronously as a card may: nothing that was started runs before
// somebody waits for it, launches copy their arguments, and the card's memory cannot be touched from outside. For tests alone.
//   RXTUNE_MOCK_FAIL=<function>=<code>[@n]   that function gives the code, from its nth call on
//   RXTUNE_MOCK_VERSION, _CAPABILITY, _CARDS, _MEMORY   what the driver says of itself (13000, 90, 1), and bytes there are
//   RXTUNE_MOCK_SKIP=<kernel>,…   launches of these kernels do nothing
//   RXTUNE_MOCK_LOSE=<kernel>   a launch of this kernel reads an address that is not there: from then on everything gives that error
//   RXTUNE_MOCK_COUNT=<file>   no kernel and no product is computed, and what is read back is noise: what each kind of them has moved so far (moved.h) is written to the
//                              file as JSON whenever somebody waits, {name: [times, bytes read, bytes written, operations]}
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#ifndef RX_EMULATE
#define RX_EMULATE
#endif
#include "../emulate/cuda.h"
#include "../emulate/watch.h"
#include "../host/blas_types.h"
#include "../host/driver.h"
#include "../kernels/signatures.h"
#include "moved.h"

#define X(name, ...) extern "C" void rx_##name(__VA_ARGS__);
RX_CUDA_KERNELS(X)
#undef X

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using cuda::Handle;
using cuda::Pointer;

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

const char* variable(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : nullptr;
}
// Whether this is one of names with commas between them.
bool names(const std::string& list, const std::string& name) { return ("," + list + ",").find("," + name + ",") != std::string::npos; }
long number(const char* name, long otherwise) {
  const char* const value = variable(name);
  return value != nullptr ? std::atol(value) : otherwise;
}

// ---- memory of the card: closed while nothing runs ----

std::map<char*, size_t> memory;
size_t taken = 0;

// A count needs no numbers but those that say how much there is: it runs at once.
bool counting() { return variable("RXTUNE_MOCK_COUNT") != nullptr; }

void open_memory(bool open) {
  for (const auto& [at, bytes] : memory) mprotect(at, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// ---- the stream ----

std::deque<std::function<void()>> waiting;
unsigned long started = 0, finished = 0;

void run_until(unsigned long position) {
  if (finished >= position) return;
  open_memory(true);
  while (finished < position) {
    waiting.front()();
    waiting.pop_front();
    finished++;
  }
  open_memory(false);
}
void start(std::function<void()> work) {
  if (counting()) {
    work();
    finished = ++started;
    return;
  }
  waiting.push_back(std::move(work));
  started++;
  // A real queue is finite too.
  if (waiting.size() > 1000) run_until(finished + 500);
}

// ---- failures asked for ----

// The error after which a card does nothing more for a process.
int lost = 0;

std::map<std::string, long> calls;
int failing(const char* function) {
  if (lost != 0) return lost;
  const char* const asked = variable("RXTUNE_MOCK_FAIL");
  const size_t length = std::strlen(function);
  if (asked == nullptr || std::strncmp(asked, function, length) != 0 || asked[length] != '=') return 0;
  const char* const from = std::strchr(asked, '@');
  if (++calls[function] < (from != nullptr ? std::atol(from + 1) : 1)) return 0;
  return std::atoi(asked + length + 1);
}
#define CALLED                                       \
  const Lock lock(mutex);                            \
  if (const int code = failing(__func__)) return code;

// ---- kernels ----

struct Launch {
  const char* name;
  emulate::Index grid, block;
  size_t shared_bytes;
};

// ---- what was moved ----

struct Moves {
  long times = 0;
  moved::Tally total;
};
std::map<std::string, Moves> moves;

void note(const char* name, const moved::Tally& tally) {
  Moves& all = moves[name];
  all.times++;
  all.total.bytes.read += tally.bytes.read;
  all.total.bytes.written += tally.bytes.written;
  all.total.operations += tally.operations;
}
void write_moves() {
  if (!counting()) return;
  std::string text;
  for (const auto& [name, all] : moves) {
    char line[256];
    std::snprintf(line, sizeof line, "%s\n  \"%s\": [%ld, %ld, %ld, %.17g]", text.empty() ? "" : ",", name.c_str(), all.times,
                  all.total.bytes.read, all.total.bytes.written, all.total.operations);
    text += line;
  }
  if (std::FILE* const file = std::fopen(variable("RXTUNE_MOCK_COUNT"), "w")) {
    std::fprintf(file, "{%s\n}\n", text.c_str());
    std::fclose(file);
  }
}

#ifdef RX_WATCH
// A launch that touched other bytes than are counted for its kind.
void compare(const char* name, const moved::Tally& counted) {
  const emulate::Moved touched = emulate::watched();
  const auto agree = [&](long is, long said) { return is <= said && is >= said - counted.or_fewer; };
  if (agree(touched.read, counted.bytes.read) && agree(touched.written, counted.bytes.written)) return;
  std::fprintf(stderr, "%s: reads %ld and writes %ld bytes, counted are %ld and %ld\n", name, touched.read, touched.written, counted.bytes.read,
               counted.bytes.written);
  std::abort();
}
#endif

// Where counts of routers lie that were told.
std::map<const void*, size_t> foretold;

// What a router would choose, where nothing is computed: experts by chance, as if it told them apart.
template <class... P>
void foretell(const P&...) {}
void foretell(const int32_t*, const Routes& a, long) {
  std::fill(a.counts, a.counts + a.experts, 0);
  uint32_t state = 1;
  for (long i = 0; i < a.tokens * a.each; i++) {
    state = state * 1664525u + 1013904223u;
    a.counts[(state >> 8) * static_cast<uint64_t>(a.experts) >> 24]++;
  }
  foretold[a.counts] = sizeof(int32_t) * static_cast<size_t>(a.experts);
}

template <class... P, size_t... i>
std::tuple<P...> copy_of(void** arguments, std::index_sequence<i...>) {
  return {*static_cast<P*>(arguments[i])...};
}
template <class F, class... P>
void enqueue(void (*kernel)(P...), F tally, const Launch& launch, void** arguments) {
  const std::tuple<P...> copied = copy_of<P...>(arguments, std::index_sequence_for<P...>());
  start([=] {
    const auto counted = [&] {
      const moved::Grid grid = {launch.grid.x, launch.grid.y, launch.block.x};
      return std::apply([&](const P&... each) -> moved::Tally { return tally(grid, each...); }, copied);
    };
    if (counting()) {
      std::apply([](const P&... each) { foretell(each...); }, copied);
      return note(launch.name, counted());
    }
    if (const char* const losing = variable("RXTUNE_MOCK_LOSE"); losing != nullptr && std::strcmp(losing, launch.name) == 0) lost = cuda::launch_errors;
    if (lost != 0) return;
    if (const char* const skipped = variable("RXTUNE_MOCK_SKIP"); skipped != nullptr && names(skipped, launch.name)) return;
#ifdef RX_WATCH
    // before the launch changes what it reads
    const moved::Tally expected = counted();
#endif
    emulate::launch(launch.name, launch.grid, launch.block, launch.shared_bytes, [&] { std::apply(kernel, copied); });
#ifdef RX_WATCH
    compare(launch.name, expected);
#endif
  });
}

struct Entry {
  const char* name;
  void (*enqueue)(const Launch&, void**);
  size_t allowed_shared;
};
Entry entries[] = {
#define X(name, ...) {"rx_" #name, [](const Launch& launch, void** arguments) { enqueue(rx_##name, [](const auto&... each) { return moved::name(each...); }, launch, arguments); }, 48 << 10},
    RX_CUDA_KERNELS(X)
#undef X
};

constexpr int bad_value = 1, not_found = 500, most_shared = 227 << 10;

struct Event {
  unsigned long position = 0;
};

int token;

}  // namespace

EXPORT int cuInit(unsigned) {
  CALLED
  return number("RXTUNE_MOCK_CARDS", 1) > 0 ? 0 : cuda::no_device;
}
EXPORT int cuDriverGetVersion(int* version) {
  CALLED
  *version = static_cast<int>(number("RXTUNE_MOCK_VERSION", 13000));
  return 0;
}
EXPORT int cuDeviceGetCount(int* count) {
  CALLED
  *count = static_cast<int>(number("RXTUNE_MOCK_CARDS", 1));
  return 0;
}
EXPORT int cuDeviceGet(int* device, int i) {
  CALLED
  *device = i;
  return 0;
}
EXPORT int cuDeviceGetName(char* name, int length, int) {
  CALLED
  std::snprintf(name, static_cast<size_t>(length), "emulated card");
  return 0;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
  CALLED
  const int capability = static_cast<int>(number("RXTUNE_MOCK_CAPABILITY", 90));
  switch (attribute) {
    case cuda::attribute_major: *value = capability / 10; return 0;
    case cuda::attribute_minor: *value = capability % 10; return 0;
    case cuda::attribute_multiprocessors: *value = 132; return 0;
    case cuda::attribute_shared_memory: *value = static_cast<int>(number("RXTUNE_MOCK_SHARED", most_shared)); return 0;
    default: return bad_value;
  }
}
EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) {
  CALLED
  *bytes = static_cast<size_t>(number("RXTUNE_MOCK_MEMORY", 4L << 30));
  return 0;
}
EXPORT int cuMemGetInfo_v2(size_t* left, size_t* whole) {
  CALLED
  *whole = static_cast<size_t>(number("RXTUNE_MOCK_MEMORY", 4L << 30));
  *left = *whole > taken ? *whole - taken : 0;
  return 0;
}
EXPORT int cuDevicePrimaryCtxRetain(Handle* context, int) {
  CALLED
  *context = &token;
  return 0;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
  CALLED
  return 0;
}
EXPORT int cuCtxSetCurrent(Handle context) {
  CALLED
  return context == &token ? 0 : bad_value;
}
EXPORT int cuModuleLoadData(Handle* module, const void* image) {
  CALLED
  if (std::strncmp(static_cast<const char*>(image), "emulated", 8) != 0) return 200;  // CUDA_ERROR_INVALID_IMAGE
  *module = &token;
  return 0;
}
EXPORT int cuModuleUnload(Handle) {
  CALLED
  return 0;
}
EXPORT int cuModuleGetFunction(Handle* function, Handle, const char* name) {
  CALLED
  for (Entry& entry : entries)
    if (std::strcmp(entry.name, name) == 0) {
      *function = &entry;
      return 0;
    }
  return not_found;
}
EXPORT int cuFuncSetAttribute(Handle function, int attribute, int value) {
  CALLED
  if (attribute != cuda::function_shared_memory || value > number("RXTUNE_MOCK_SHARED", most_shared)) return bad_value;
  static_cast<Entry*>(function)->allowed_shared = static_cast<size_t>(value);
  return 0;
}
EXPORT int cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                          Handle, void** arguments, void**) {
  CALLED
  const Entry& entry = *static_cast<Entry*>(function);
  if (gx == 0 || gx > 0x7fffffff || gy > 65535 || gy == 0 || gz != 1 || bx * by * bz == 0 || bx * by * bz > 1024 || shared > entry.allowed_shared)
    return bad_value;
  entry.enqueue({entry.name, {gx, gy, gz}, {bx, by, bz}, shared}, arguments);
  return 0;
}
EXPORT int cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  CALLED
  if (bytes == 0) return bad_value;
  if (taken + bytes > static_cast<size_t>(number("RXTUNE_MOCK_MEMORY", 4L << 30))) return cuda::out_of_memory;
  void* const at = mmap(nullptr, bytes, counting() ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return cuda::out_of_memory;
  memory[static_cast<char*>(at)] = bytes;
  emulate::watch_memory(at, bytes, true);
  taken += bytes;
  *pointer = reinterpret_cast<Pointer>(at);
  return 0;
}
EXPORT int cuMemFree_v2(Pointer pointer) {
  CALLED
  const auto found = memory.find(reinterpret_cast<char*>(pointer));
  if (found == memory.end()) return bad_value;
  munmap(found->first, found->second);
  emulate::watch_memory(found->first, found->second, false);
  taken -= found->second;
  memory.erase(found);
  return 0;
}
EXPORT int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
  CALLED
  *at = std::malloc(bytes);
  return *at != nullptr ? 0 : cuda::out_of_memory;
}
EXPORT int cuMemFreeHost(void* at) {
  CALLED
  std::free(at);
  return 0;
}
EXPORT int cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Handle) {
  CALLED
  start([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
  return 0;
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Handle) {
  CALLED
  start([=] {
    const auto told = foretold.find(reinterpret_cast<const void*>(from));
    if (!counting() || (told != foretold.end() && told->second == bytes)) {
      std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
      return;
    }
    // Numbers of [0, 1), all different: so a router sends its rows everywhere.
    static uint32_t state = 1;
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
      state = state * 1664525u + 1013904223u;
      const float x = static_cast<float>(state >> 8) / 16777216.f;
      std::memcpy(static_cast<char*>(to) + i, &x, 4);
    }
  });
  return 0;
}
EXPORT int cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Handle) {
  CALLED
  start([=] {
    if (!counting()) std::memset(reinterpret_cast<void*>(to), value, bytes);
    moved::Tally tally;
    tally.bytes.written = static_cast<long>(bytes);
    note("memset", tally);
  });
  return 0;
}
EXPORT int cuStreamCreate(Handle* stream, unsigned) {
  CALLED
  *stream = &token;
  return 0;
}
EXPORT int cuStreamSynchronize(Handle) {
  CALLED
  run_until(started);
  write_moves();
  return lost;
}
EXPORT int cuStreamDestroy_v2(Handle) {
  CALLED
  return 0;
}
EXPORT int cuEventCreate(Handle* event, unsigned) {
  CALLED
  *event = new Event;
  return 0;
}
EXPORT int cuEventRecord(Handle event, Handle) {
  CALLED
  static_cast<Event*>(event)->position = started;
  return 0;
}
EXPORT int cuEventSynchronize(Handle event) {
  CALLED
  run_until(static_cast<Event*>(event)->position);
  write_moves();
  return lost;
}
// Nothing has a time here; each is as if over at once.
EXPORT int cuEventElapsedTime_v2(float* milliseconds, Handle, Handle) {
  CALLED
  *milliseconds = 0;
  return 0;
}
EXPORT int cuEventDestroy_v2(Handle event) {
  delete static_cast<Event*>(event);
  return 0;
}
EXPORT int cuGetErrorString(int, const char** said) {
  *said = "an error that a test asked for";
  return 0;
}

// ---- cublasLt: columns first, as it is ----

namespace {

struct Description {
  int trans_a = 0, trans_b = 0, epilogue = cuda::epilogue_default;
  const void* bias = nullptr;
};
struct Layout {
  int type;
  long rows, columns, ld;
};

// What a call gets that breaks a rule: not a status after which plain kernels do what is not supported.
constexpr int misused = 14;

// A library that is asked for ever more of them is used wrongly.
constexpr long most_descriptions = 2000;
long descriptions = 0;

struct Preference {
  uint64_t workspace = 0;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

// As far as a bias that is read later must be aligned too: the heuristic takes what it is given for an example.
uint64_t bias_alignment(void* desc) {
  const uint64_t bits = reinterpret_cast<uint64_t>(static_cast<Description*>(desc)->bias) | 256;
  return bits & (~bits + 1);
}

cuda::Algorithm algorithm_of(void* desc, std::array<void*, 4> layouts) {
  const Description& d = *static_cast<Description*>(desc);
  cuda::Algorithm made = {};
  uint64_t hash = static_cast<uint64_t>(d.trans_a * 4 + d.trans_b * 2 + (d.epilogue == cuda::epilogue_bias));
  for (void* const each : layouts) {
    const Layout& l = *static_cast<Layout*>(each);
    for (const long part : {static_cast<long>(l.type), l.rows, l.columns, l.ld}) hash = (hash ^ static_cast<uint64_t>(part)) * 0x100000001b3ull;
  }
  made.data[5] = hash;
  return made;
}

float number(const void* data, int type, long at) {
  return type == cuda::type_bf16 ? emulate::bfloat16(static_cast<const uint16_t*>(data)[at]) : static_cast<const float*>(data)[at];
}
uint16_t rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// op(x) [rows, columns] as floats, row-major.
std::vector<float> floats(const void* data, const Layout& layout, bool transposed, long& rows, long& columns) {
  rows = transposed ? layout.columns : layout.rows;
  columns = transposed ? layout.rows : layout.columns;
  std::vector<float> out(static_cast<size_t>(rows * columns));
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < columns; c++) {
      const long at = transposed ? c + r * layout.ld : r + c * layout.ld;
      out[static_cast<size_t>(r * columns + c)] = number(data, layout.type, at);
    }
  return out;
}

}  // namespace

EXPORT int cublasLtCreate(void** handle) {
  CALLED
  *handle = &token;
  return 0;
}
EXPORT int cublasLtDestroy(void*) { return 0; }
EXPORT int cublasLtMatmulDescCreate(void** desc, int compute, int scale) {
  CALLED
  if (compute != cuda::compute_32f || scale != cuda::type_f32) return 15;
  if (++descriptions > most_descriptions) return 3;
  *desc = new Description;
  return 0;
}
EXPORT int cublasLtMatmulDescDestroy(void* desc) {
  descriptions--;
  delete static_cast<Description*>(desc);
  return 0;
}
EXPORT int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t bytes) {
  CALLED
  Description& d = *static_cast<Description*>(desc);
  if (bytes != (attribute == cuda::desc_bias_pointer ? 8u : 4u)) return 7;
  void* const to = attribute == cuda::desc_trans_a     ? static_cast<void*>(&d.trans_a)
                   : attribute == cuda::desc_trans_b   ? static_cast<void*>(&d.trans_b)
                   : attribute == cuda::desc_epilogue  ? static_cast<void*>(&d.epilogue)
                   : attribute == cuda::desc_bias_pointer ? static_cast<void*>(&d.bias)
                                                          : nullptr;
  if (to == nullptr) return 7;
  std::memcpy(to, value, bytes);
  return 0;
}
EXPORT int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  CALLED
  if (ld < static_cast<int64_t>(rows)) return 7;
  *layout = new Layout{type, static_cast<long>(rows), static_cast<long>(columns), static_cast<long>(ld)};
  return 0;
}
EXPORT int cublasLtMatrixLayoutDestroy(void* layout) {
  delete static_cast<Layout*>(layout);
  return 0;
}
EXPORT int cublasLtMatmulPreferenceCreate(void** preference) {
  CALLED
  *preference = new Preference;
  return 0;
}
EXPORT int cublasLtMatmulPreferenceDestroy(void* preference) {
  delete static_cast<Preference*>(preference);
  return 0;
}
EXPORT int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  CALLED
  Preference& p = *static_cast<Preference*>(preference);
  const int matrix = attribute - cuda::pref_alignment_a;
  if (attribute == cuda::pref_workspace_bytes && bytes == sizeof p.workspace) {
    std::memcpy(&p.workspace, value, bytes);
    return 0;
  }
  if (matrix < 0 || matrix > 3 || bytes != sizeof p.alignments[0]) return 7;
  std::memcpy(&p.alignments[matrix], value, bytes);
  return 0;
}
// An algorithm is good for what it was asked for alone.
EXPORT int cublasLtMatmulAlgoGetHeuristic(void*, void* desc, void* a, void* b, void* c, void* d, void* preference, int, cuda::Heuristic* best,
                                          int* count) {
  CALLED
  const Preference& p = *static_cast<Preference*>(preference);
  *best = {};
  best->algorithm = algorithm_of(desc, {a, b, c, d});
  for (int i = 0; i < 4; i++) best->algorithm.data[i] = p.alignments[i];
  best->algorithm.data[4] = p.workspace;
  best->algorithm.data[6] = bias_alignment(desc);
  *count = 1;
  note("plan", {});
  return 0;
}
EXPORT int cublasLtMatmul(void*, void* desc, const void* alpha, const void* a, void* layout_a, const void* b, void* layout_b,
                          const void* beta, const void* c, void* layout_c, void* d, void* layout_d, const cuda::Algorithm* algorithm,
                          void* workspace, size_t workspace_bytes, void*) {
  CALLED
  const cuda::Algorithm here = algorithm_of(desc, {layout_a, layout_b, layout_c, layout_d});
  if (here.data[5] != algorithm->data[5] || algorithm->data[7] != 0) return misused;
  const void* const matrices[] = {a, b, c, d};
  void* const layouts[] = {layout_a, layout_b, layout_c, layout_d};
  for (int i = 0; i < 4; i++) {
    const Layout& layout = *static_cast<Layout*>(layouts[i]);
    const uint64_t bits = reinterpret_cast<uint64_t>(matrices[i]) | static_cast<uint64_t>(layout.ld) * (layout.type == cuda::type_bf16 ? 2 : 4);
    if (algorithm->data[i] == 0 || bits % algorithm->data[i] != 0) return misused;
  }
  // A card would stop here with a misaligned address, whatever the heuristic was told of the bias.
  if (const Description& d = *static_cast<Description*>(desc); d.epilogue == cuda::epilogue_bias)
    if (bias_alignment(desc) < algorithm->data[6] || bias_alignment(desc) < 16) return 13;
  if (workspace_bytes < algorithm->data[4] || reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return misused;
  // In place means in the same place.
  if (c == d && static_cast<Layout*>(layout_c)->ld != static_cast<Layout*>(layout_d)->ld) return misused;
  const Description description = *static_cast<Description*>(desc);
  const Layout la = *static_cast<Layout*>(layout_a), lb = *static_cast<Layout*>(layout_b), lc = *static_cast<Layout*>(layout_c),
               ld = *static_cast<Layout*>(layout_d);
  const float times = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  const long k_a = description.trans_a ? la.rows : la.columns, k_b = description.trans_b ? lb.columns : lb.rows;
  const long m = description.trans_a ? la.columns : la.rows, n = description.trans_b ? lb.rows : lb.columns;
  if (k_a != k_b || m != ld.rows || n != ld.columns || m != lc.rows || n != lc.columns || la.type != lb.type || lc.type != ld.type) return misused;
  if (ld.type == cuda::type_bf16 && la.type != cuda::type_bf16) return misused;
  start([=] {
    if (counting()) {
      const auto bytes = [](int type, long numbers) { return numbers * (type == cuda::type_bf16 ? 2 : 4); };
      moved::Tally tally;
      tally.bytes.read = bytes(la.type, m * k_a + k_a * n) + (keep != 0 ? bytes(lc.type, m * n) : 0);
      tally.bytes.written = bytes(ld.type, m * n);
      tally.operations = 2. * static_cast<double>(m * n) * static_cast<double>(k_a);
      // of an adapter: what it moves takes longer than what it computes
      return note(std::min({m, n, k_a}) <= 128 ? "thin product" : "product", tally);
    }
    long rows, inner, columns;
    const std::vector<float> left = floats(a, la, description.trans_a != 0, rows, inner);
    const std::vector<float> right = floats(b, lb, description.trans_b != 0, inner, columns);
    std::vector<float> row(static_cast<size_t>(columns));
    for (long i = 0; i < rows; i++) {
      std::fill(row.begin(), row.end(), 0.f);
      for (long p = 0; p < inner; p++) {
        const float x = left[static_cast<size_t>(i * inner + p)];
        const float* const y = &right[static_cast<size_t>(p * columns)];
        for (long j = 0; j < columns; j++) row[static_cast<size_t>(j)] += x * y[j];
      }
      for (long j = 0; j < columns; j++) {
        float value = times * row[static_cast<size_t>(j)];
        if (keep != 0) value += keep * number(c, lc.type, i + j * lc.ld);
        // as the result lies
        if (description.epilogue == cuda::epilogue_bias) value += number(description.bias, ld.type, i);
        if (ld.type == cuda::type_bf16)
          static_cast<uint16_t*>(d)[i + j * ld.ld] = rounded(value);
        else
          static_cast<float*>(d)[i + j * ld.ld] = value;
      }
    }
  });
  return 0;
}
