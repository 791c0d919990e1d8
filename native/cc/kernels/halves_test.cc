// Kernels that are given activations as bfloat16 compute what they compute of the same numbers as float32, and round it to nearest even.
#include "test.h"

extern "C" void RX_FILL(activation)(KernelTable*);
extern "C" void RX_FILL(combine_rows)(KernelTable*);
extern "C" void RX_FILL(cached_attention)(KernelTable*);
extern "C" void RX_FILL(columns)(KernelTable*);
extern "C" void RX_FILL(dropout)(KernelTable*);
extern "C" void RX_FILL(elementwise)(KernelTable*);
extern "C" void RX_FILL(layer_norm)(KernelTable*);
extern "C" void RX_FILL(rms_norm)(KernelTable*);
extern "C" void RX_FILL(rope)(KernelTable*);

namespace {

void fill(KernelTable* table) {
  RX_FILL(activation)(table);
  RX_FILL(combine_rows)(table);
  RX_FILL(cached_attention)(table);
  RX_FILL(columns)(table);
  RX_FILL(dropout)(table);
  RX_FILL(elementwise)(table);
  RX_FILL(layer_norm)(table);
  RX_FILL(rms_norm)(table);
  RX_FILL(rope)(table);
}

// The same numbers both ways.
struct Both {
  Floats wide;
  Halved half;
  explicit Both(const Floats& x) : wide(x.size()), half(halved(x)) {
    for (size_t i = 0; i < x.size(); i++) wide[i] = widened(half[i]);
  }
  Values as(int halves) { return halves ? Values{half.data(), 1} : values_of(wide.data()); }
};

// What comes out, either way.
struct Out {
  Floats wide;
  Halved half;
  explicit Out(long n) : wide(n, 9.f), half(n, 0x4110) {}
  Values as(int halves) { return halves ? Values{half.data(), 1} : values_of(wide.data()); }
};

void same(const std::string& what, const Out& out) { expect(what, out.half == halved(out.wide)); }

}  // namespace

int main() {
  for (const long rows : {1L, 7L, 40L})
    for (const long columns : {1L, 16L, 37L, 96L, 800L}) {
      Random random((unsigned)(rows * 1000 + columns));
      const long n = rows * columns;
      const std::string name = std::to_string(rows) + "x" + std::to_string(columns) + " ";
      Both x(random.floats(n, -4, 4)), other(random.floats(n)), dy(random.floats(n));
      const Floats gain_of_rows = random.floats(rows), gain = random.floats(columns), bias = random.floats(columns), plain = random.floats(n);
      for (int threads = 1; threads <= 2; threads++) {
        Engine engine(threads, fill);
        const KernelTable& table = engine.table;
        const auto both = [](auto run) {
          run(0);
          run(1);
        };
        for (int kind = 0; kind < ACTIVATIONS; kind++) {
          Out y(n), dx(n), gated(n), d_gate(n), d_up(n);
          both([&](int h) {
            table.activation(*engine, kind, x.as(h), y.as(h), n);
            table.activation_grad(*engine, kind, x.as(h), dy.as(h), dx.as(h), n);
            table.gated_activation(*engine, kind, x.as(h), other.as(h), gated.as(h), n);
            table.gated_activation_grad(*engine, kind, x.as(h), other.as(h), dy.as(h), d_gate.as(h), d_up.as(h), n);
          });
          same(name + "activation", y), same(name + "its gradient", dx), same(name + "gated", gated);
          same(name + "gradient of the gate", d_gate), same(name + "of what it lets through", d_up);
        }
        Out clamped(n), d_clamped(n), d_other(n);
        both([&](int h) {
          table.clamped_gate(*engine, 1.5f, x.as(h), other.as(h), clamped.as(h), n);
          table.clamped_gate_grad(*engine, 1.5f, x.as(h), other.as(h), dy.as(h), d_clamped.as(h), d_other.as(h), n);
        });
        same(name + "clamped gate", clamped), same(name + "gradient of the clamped gate", d_clamped), same(name + "of its other side", d_other);
        // Each row is the sum of one of x's, the last first.
        std::vector<int32_t> places(rows);
        for (long i = 0; i < rows; i++) places[i] = (int32_t)(rows - 1 - i);
        Out combined(n), spread(n);
        Floats d_weights[2] = {Floats(rows), Floats(rows)};
        both([&](int h) {
          table.combine_rows(*engine, x.as(h), gain_of_rows.data(), places.data(), combined.as(h), rows, 1, columns);
          table.combine_rows_grad(*engine, dy.as(h), x.as(h), gain_of_rows.data(), places.data(), spread.as(h), d_weights[h].data(), rows, 1, columns);
        });
        same(name + "combined rows", combined), same(name + "their gradient", spread);
        expect_same_bits(name + "gradient of weights", d_weights[1], d_weights[0]);
        Out sum(n), dropped(n);
        Floats total[2] = {Floats(columns), Floats(columns)};
        both([&](int h) {
          table.add(*engine, x.as(h), other.as(h), sum.as(h), n);
          table.dropout(*engine, x.as(h), dropped.as(h), n, 0.3, 5, 77);
          table.column_sum(*engine, dy.as(h), total[h].data(), rows, columns);
        });
        same(name + "sum", sum), same(name + "dropout", dropped);
        expect_same_bits(name + "column sum", total[1], total[0]);

        // Norms: a float32 stream, to which bfloat16 is added; what comes out is bfloat16, statistics and the stream are not.
        Out layer(n), rms(n);
        Floats stream[2] = {Floats(n), Floats(n)}, mean[2] = {Floats(rows), Floats(rows)}, rstd[2] = {Floats(rows), Floats(rows)};
        Floats dx[2] = {Floats(n), Floats(n)}, d_gain[2] = {Floats(columns), Floats(columns)}, d_bias[2] = {Floats(columns), Floats(columns)};
        const auto input = [&](int h) { return NormInput{values_of(plain.data()), other.as(h), values_of(stream[h].data()), nullptr}; };
        both([&](int h) {
          table.layer_norm(*engine, input(h), gain.data(), bias.data(), layer.as(h), mean[h].data(), rstd[h].data(), rows, columns, 1e-5f);
          table.layer_norm_grad(*engine, dy.as(h), x.as(h), gain.data(), mean[h].data(), rstd[h].data(), plain.data(), dx[h].data(), d_gain[h].data(),
                                d_bias[h].data(), rows, columns);
        });
        same(name + "layer norm", layer);
        expect_same_bits(name + "stream", stream[1], stream[0]), expect_same_bits(name + "mean", mean[1], mean[0]);
        expect_same_bits(name + "rstd", rstd[1], rstd[0]), expect_same_bits(name + "dx of layer norm", dx[1], dx[0]);
        expect_same_bits(name + "gradient of the gain", d_gain[1], d_gain[0]), expect_same_bits(name + "of the bias", d_bias[1], d_bias[0]);
        both([&](int h) {
          table.rms_norm(*engine, input(h), gain.data(), rms.as(h), rstd[h].data(), rows, columns, 1e-5f, 1.f);
          table.rms_norm_grad(*engine, dy.as(h), x.as(h), gain.data(), rstd[h].data(), nullptr, dx[h].data(), d_gain[h].data(), rows, columns, 1.f);
        });
        same(name + "rms norm", rms);
        expect_same_bits(name + "dx of rms norm", dx[1], dx[0]), expect_same_bits(name + "gain of rms norm", d_gain[1], d_gain[0]);

        // Two heads a row, some columns of which turn.
        if (columns % 2 == 0) {
          const long head_dim = columns / 2, turns = head_dim / 4 * 2;
          const Floats cosines = random.floats(rows * turns / 2), sines = random.floats(rows * turns / 2);
          Out turned(n), attended(n), in_place(0);
          in_place.wide = x.wide, in_place.half = x.half;
          both([&](int h) {
            table.rope(*engine, x.as(h), cosines.data(), sines.data(), turned.as(h), rows, 2, head_dim, turns, 0, 0);
            table.rope(*engine, in_place.as(h), cosines.data(), sines.data(), in_place.as(h), rows, 2, head_dim, turns, 1, 1);
            table.cached_attention(*engine, x.as(h), other.wide.data(), dy.wide.data(), attended.as(h), {rows, rows, 2, 2, head_dim, 0, 0.5f, 0, nullptr, 0, 0});
          });
          same(name + "rotary", turned), same(name + "rotary in place", in_place), same(name + "cached attention", attended);
        }
      }
    }
  return finish();
}
