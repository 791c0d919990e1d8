#include "blas.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <map>
#include <stdexcept>
#include <vector>

#include "blas_types.h"

namespace cuda {
namespace {

struct Functions {
#define X(name, parameters) int(*name) parameters;
  RX_BLAS_FUNCTIONS(X)
#undef X
};

std::vector<std::string> candidates() {
  std::vector<std::string> found = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
  const auto matches = [&](const std::string& pattern) {
    glob_t files = {};
    if (glob(pattern.c_str(), 0, nullptr, &files) == 0)
      for (size_t i = 0; i < files.gl_pathc; i++) found.push_back(files.gl_pathv[i]);
    globfree(&files);
  };
  const auto in = [&](const char* variable, const char* below) {
    const char* const folder = std::getenv(variable);
    if (folder != nullptr && *folder != 0) matches(std::string(folder) + below);
  };
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"}) in(name, "/lib64/libcublasLt.so*");
  matches("/usr/local/cuda/lib64/libcublasLt.so*");
  // pip's packages nvidia-cublas and nvidia-cublas-cu12
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) in(name, "/lib/python3*/site-packages/nvidia/c*/lib/libcublasLt.so*");
  return found;
}

long alignment_of(const void* data, long ld, long each) {
  const unsigned long bits = reinterpret_cast<unsigned long>(data) | static_cast<unsigned long>(ld * each) | 256ul;
  return static_cast<long>(bits & (~bits + 1));
}

long bytes_of(Format format) { return format == Format::float32 ? 4 : 2; }
int type_of(Format format) { return format == Format::float32 ? type_f32 : type_bf16; }

// cublasLt thinks in columns: a row-major matrix is its transpose, so cᵀ = op(b)ᵀ op(a)ᵀ is asked for.
class Lt final : public Blas {
 public:
  Lt(const Functions& functions, void* handle) : f(functions), handle(handle) {}
  ~Lt() override {
    for (const auto& [key, plan] : plans) drop(plan);
    f.cublasLtDestroy(handle);
  }

  bool gemm(Format operands, Format result, const Matrix& a, const Matrix& b, void* c, long ld_c, const void* bias, const void* start,
            long ld_start, float alpha, long m, long n, long k, void* workspace, size_t workspace_bytes, Handle stream) override {
    const float beta = start != nullptr ? 1.f : 0.f;
    const void* const c_in = start != nullptr ? start : c;
    const long ld_in = start != nullptr ? ld_start : ld_c;
    const long each = bytes_of(operands), each_c = bytes_of(result);
    const std::array<long, 4> alignments = {alignment_of(b.data, b.ld, each), alignment_of(a.data, a.ld, each),
                                            alignment_of(c_in, ld_in, each_c), alignment_of(c, ld_c, each_c)};
    const Key key = {each, each_c, m, n, k, a.transposed, b.transposed, a.ld, b.ld, ld_in, ld_c, bias != nullptr, alignments[0],
                     alignments[1], alignments[2], alignments[3], bias != nullptr ? alignment_of(bias, 0, each_c) : 0};
    auto found = plans.find(key);
    if (found == plans.end()) {
      if (plans.size() >= most_plans) forget_old();
      found = plans.emplace(key, plan(operands, result, a, b, ld_in, ld_c, bias, m, n, alignments, workspace_bytes)).first;
    }
    Plan& p = found->second;
    p.used = ++clock;
    if (!p.supported) {
      refused++;
      return false;
    }
    if (bias != nullptr) f.cublasLtMatmulDescSetAttribute(p.desc, desc_bias_pointer, &bias, sizeof bias);
    const int status = f.cublasLtMatmul(handle, p.desc, &alpha, b.data, p.layouts[0], a.data, p.layouts[1], &beta, c_in, p.layouts[2], c,
                                        p.layouts[3], &p.algorithm, workspace, workspace_bytes, stream);
    if (status == invalid_value || status == arch_mismatch || status == not_supported) {
      // The heuristic had promised it. Nothing was started.
      p.supported = false;
      refused++;
      return false;
    }
    if (status != 0) throw std::runtime_error("cublasLt: a matrix product failed (status " + std::to_string(status) + ")");
    return true;
  }
  void prefer(int proposal) override {
    for (const auto& [key, plan] : plans) drop(plan);
    plans.clear();
    preferred = std::min(proposal, most_proposals - 1);
  }
  long refusals() const override { return refused; }

 private:
  using Key = std::array<long, 17>;
  struct Plan {
    void* desc = nullptr;
    std::array<void*, 4> layouts = {};
    Algorithm algorithm = {};
    bool supported = false;
    unsigned long used = 0;
  };
  // Rows of another number every step are planned every step: a run does not keep all that it has seen.
  static constexpr size_t most_plans = 1024;
  static constexpr int most_proposals = 8;

  void drop(const Plan& plan) const {
    if (plan.desc != nullptr) f.cublasLtMatmulDescDestroy(plan.desc);
    for (void* const layout : plan.layouts)
      if (layout != nullptr) f.cublasLtMatrixLayoutDestroy(layout);
  }
  // The half that was not used for longest. What has been started needs its plan no more.
  void forget_old() {
    std::vector<unsigned long> times;
    for (const auto& [key, plan] : plans) times.push_back(plan.used);
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    const unsigned long middle = times[times.size() / 2];
    for (auto each = plans.begin(); each != plans.end();) {
      const bool old = each->second.used < middle;
      if (old) drop(each->second);
      each = old ? plans.erase(each) : std::next(each);
    }
  }

  static void must(int status, const char* what) {
    if (status != 0) throw std::runtime_error(std::string("cublasLt: ") + what + " failed (status " + std::to_string(status) + ")");
  }

  Plan plan(Format operands, Format result, const Matrix& a, const Matrix& b, long ld_in, long ld_c, const void* bias, long m, long n,
            const std::array<long, 4>& alignments, size_t workspace_bytes) {
    Plan p;
    const int type = type_of(operands), type_c = type_of(result);
    must(f.cublasLtMatmulDescCreate(&p.desc, compute_32f, type_f32), "describing a product");
    const auto set = [&](int attribute, int value) {
      must(f.cublasLtMatmulDescSetAttribute(p.desc, attribute, &value, sizeof value), "describing a product");
    };
    set(desc_trans_a, b.transposed);
    set(desc_trans_b, a.transposed);
    set(desc_epilogue, bias != nullptr ? epilogue_bias : epilogue_default);
    // Its numbers are those of the result unless something else is said.
    if (bias != nullptr) must(f.cublasLtMatmulDescSetAttribute(p.desc, desc_bias_pointer, &bias, sizeof bias), "describing a product");
    const auto layout = [&](int i, int of, long columns, long rows, long ld) {
      must(f.cublasLtMatrixLayoutCreate(&p.layouts[i], of, static_cast<uint64_t>(columns), static_cast<uint64_t>(rows), ld), "a layout");
    };
    layout(0, type, b.columns, b.rows, b.ld);
    layout(1, type, a.columns, a.rows, a.ld);
    layout(2, type_c, n, m, ld_in);
    layout(3, type_c, n, m, ld_c);
    void* preference = nullptr;
    must(f.cublasLtMatmulPreferenceCreate(&preference), "a preference");
    f.cublasLtMatmulPreferenceSetAttribute(preference, pref_workspace_bytes, &workspace_bytes, sizeof workspace_bytes);
    for (int i = 0; i < 4; i++) {
      const uint32_t bytes = static_cast<uint32_t>(alignments[i]);
      f.cublasLtMatmulPreferenceSetAttribute(preference, pref_alignment_a + i, &bytes, sizeof bytes);
    }
    Heuristic found[most_proposals] = {};
    int count = 0;
    const int status = f.cublasLtMatmulAlgoGetHeuristic(handle, p.desc, p.layouts[0], p.layouts[1], p.layouts[2], p.layouts[3], preference,
                                                        preferred + 1, found, &count);
    f.cublasLtMatmulPreferenceDestroy(preference);
    const Heuristic& best = found[std::min(preferred, std::max(0, count - 1))];
    p.supported = status == 0 && count > 0 && best.state == 0;
    p.algorithm = best.algorithm;
    return p;
  }

  const Functions f;
  void* const handle;
  std::map<Key, Plan> plans;
  unsigned long clock = 0;
  long refused = 0;
  int preferred = 0;
};

}  // namespace

std::unique_ptr<Blas> Blas::open(const std::string& library, std::string& note) {
  const std::vector<std::string> names = library.empty() ? candidates() : std::vector<std::string>{library};
  std::string broken;
  for (const std::string& name : names) {
    void* const opened = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) continue;
    Functions f = {};
    bool complete = true;
#define X(function, parameters)                                                  \
  f.function = reinterpret_cast<int(*) parameters>(dlsym(opened, #function));    \
  complete = complete && f.function != nullptr;
    RX_BLAS_FUNCTIONS(X)
#undef X
    void* handle = nullptr;
    const int status = complete ? f.cublasLtCreate(&handle) : 0;
    if (!complete || status != 0) {
      if (broken.empty()) broken = name + (complete ? " does not start (status " + std::to_string(status) + ")" : " is another library");
      continue;
    }
    return std::make_unique<Lt>(f, handle);
  }
  note = "without cublasLt (" + (broken.empty() ? "pip install nvidia-cublas, or set CUDA_HOME" : broken) + "): products by plain kernels, slowly";
  return nullptr;
}

}  // namespace cuda
