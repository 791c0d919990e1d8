#include "test.h"

extern "C" void RX_FILL(quantize)(KernelTable*);

namespace {

// The nearest half-precision number, by scaling to its last place.
double to_half(double x) {
  if (std::fabs(x) >= 65520) return x > 0 ? INFINITY : -INFINITY;
  int exponent;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
  return std::nearbyint(x / unit) * unit;
}

template <class T>
void expect_equal(const std::string& what, const std::vector<T>& got, const std::vector<T>& want) {
  if (got != want) report(what + " differs");
}

}  // namespace

int main() {
  // Worked examples of bitsandbytes.
  {
    Engine engine(2, RX_FILL(quantize));
    const Floats w = {.5f, -1, .25f, 3, 0, -6};
    std::vector<int8_t> q(6);
    Floats scale(2);
    engine.table.quantize_int8_rows(*engine, w.data(), q.data(), scale.data(), 2, 3);
    expect_equal("int8 rows", q, {64, -127, 32, 64, 0, -127});
    expect_equal("int8 scales", scale, {1, 6});
    const Floats x = {1, 2, 7, -.5f, .25f, .1f};
    Floats y(6), back(6);
    engine.table.int8_activations(*engine, x.data(), y.data(), 2, 3, 6.f);
    engine.table.dequantize_int8_rows(*engine, q.data(), scale.data(), back.data(), 2, 3);
    Doubles product(4);
    for (int i = 0; i < 2; i++)
      for (int o = 0; o < 2; o++)
        for (int c = 0; c < 3; c++) product[i * 2 + o] += (double)y[i * 3 + c] * back[o * 3 + c];
    const Doubles want = {.271685, -38.952568, -.478740, -2.111811};
    for (int i = 0; i < 4; i++) {
      const float got = (float)product[i];
      expect_close("LLM.int8 product", &got, &want[i], 1, 1e-4, 1e-5);
    }
    const Floats values = {2, -1, .2f, 0, -2, .9f, -.3f, 1.5f};
    std::vector<uint8_t> packed(4);
    Floats absmax(1), returned(8);
    engine.table.quantize_four_bit(*engine, FOUR_BIT_NF4, values.data(), packed.data(), absmax.data(), 8, 64);
    expect_equal("nf4 bytes", packed, {0xf2, 0x87, 0x0c, 0x5e});
    engine.table.dequantize_four_bit(*engine, FOUR_BIT_NF4, packed.data(), absmax.data(), returned.data(), 8, 64);
    expect_close("nf4 back", returned, {2, -1.050146, .159161, 0, -2, .881420, -.369547, 1.445914}, 1e-6, 1e-6);
  }
  for (const int kind : {FOUR_BIT_NF4, FOUR_BIT_FP4})
    for (const long n : {0L, 1L, 63L, 64L, 65L, 1000L, 40001L})
      for (const long block : {64L, 128L, 7L}) {
        Random random((unsigned)(n + block));
        Floats w = random.floats(n, -3, 3);
        if (n > 200)
          for (long i = 64; i < 128; i++) w[i] = 0;  // a block without a scale
        Floats packed0;
        for (int threads = 1; threads <= 3; threads++) {
          Engine engine(threads, RX_FILL(quantize));
          const float* const codes = engine.table.four_bit_codes[kind];
          std::vector<uint8_t> packed((n + 1) / 2);
          Floats absmax((n + block - 1) / block), back(n);
          engine.table.quantize_four_bit(*engine, kind, w.data(), packed.data(), absmax.data(), n, block);
          engine.table.dequantize_four_bit(*engine, kind, packed.data(), absmax.data(), back.data(), n, block);
          for (long i = 0; i < n; i++) {
            float top = 0;
            for (long j = i / block * block; j < std::min(n, (i / block + 1) * block); j++) top = std::fmax(top, std::fabs(w[j]));
            expect("absmax", absmax[i / block] == top);
            double nearest = 1e9;
            for (int c = 0; c < 16; c++) nearest = std::fmin(nearest, std::fabs((double)codes[c] * top - w[i]));
            expect("not the nearest code", std::fabs((double)back[i] - w[i]) <= nearest + 1e-6 * top);
          }
        }
      }
  for (const long rows : {0L, 1L, 5L, 133L})
    for (const long columns : {1L, 17L, 64L, 700L}) {
      Random random((unsigned)(rows * columns));
      Floats x = random.floats(rows * columns, -1, 1), w = random.floats(rows * columns, -2, 2);
      for (long i = 0; i < rows * columns / 50; i++) x[random.below(rows * columns)] *= random.one_of({7.f, 1e-5f, 1e-8f, 70000.f});
      if (rows > 1)
        for (long i = 0; i < columns; i++) x[i] = w[i] = 0;
      const float threshold = 6;
      Doubles want(x.size());
      std::vector<bool> outlier(columns);
      for (size_t i = 0; i < x.size(); i++)
        if (std::fabs(to_half(x[i])) >= threshold) outlier[i % columns] = true;
      for (long r = 0; r < rows; r++) {
        double top = 0;
        for (long c = 0; c < columns; c++) {
          const double size = std::fabs(to_half(x[r * columns + c]));
          if (size < threshold) top = std::fmax(top, size);
        }
        for (long c = 0; c < columns; c++) {
          const double half = to_half(x[r * columns + c]);
          want[r * columns + c] = outlier[c] ? half : top == 0 ? 0 : std::nearbyint((float)(half * 127) / (float)top) * top / 127;
        }
      }
      for (int threads = 1; threads <= 3; threads++) {
        Engine engine(threads, RX_FILL(quantize));
        Floats y(x.size()), scale(rows), back(w.size());
        std::vector<int8_t> q(w.size());
        engine.table.int8_activations(*engine, x.data(), y.data(), rows, columns, threshold);
        expect_close("int8 activations", y, want, 1e-6, 1e-12);
        engine.table.quantize_int8_rows(*engine, w.data(), q.data(), scale.data(), rows, columns);
        engine.table.dequantize_int8_rows(*engine, q.data(), scale.data(), back.data(), rows, columns);
        for (size_t i = 0; i < w.size(); i++)
          expect("int8 rows", std::fabs(back[i] - w[i]) <= scale[i / columns] / 254 * 1.0001 && std::abs(q[i]) <= 127);
      }
    }
  return finish();
}
