#include "test.h"

extern "C" void RX_FILL(latent_heads)(KernelTable*);

int main() {
  struct Case {
    long rows, heads, nope, rope, value;
  };
  const std::vector<Case> cases = {{0, 2, 3, 4, 5}, {1, 1, 1, 2, 1}, {7, 3, 17, 6, 9}, {130, 4, 24, 8, 24}, {33, 2, 128, 64, 128}, {50, 5, 37, 34, 70}};
  for (const Case& c : cases)
    for (const int interleaved : {0, 1})
      for (const int half : {0, 1}) {
        Random random((unsigned)(c.rows + c.nope));
        const long width = c.nope + c.rope, both = c.nope + c.value, angles = c.rope / 2, all = c.rows * c.heads;
        // As whole bfloat16 numbers, which lie either way.
        const auto numbers = [&](long n) { return widened(halved(random.floats(n))); };
        const Floats q = numbers(all * width), kv = numbers(all * both), shared = numbers(c.rows * c.rope);
        const Floats dq = numbers(all * width), dk = numbers(all * width), dv = numbers(all * c.value);
        Floats cosines(c.rows * angles), sines(c.rows * angles);
        for (long i = 0; i < c.rows * angles; i++) {
          const float angle = random.uniform(-4, 4);
          cosines[i] = std::cos(angle), sines[i] = std::sin(angle);
        }
        const std::string name = std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(width) + (interleaved ? " interleaved" : "") + (half ? " in halves" : "");
        const auto turn = [&](const double* from, double* to, long row, int sign) {
          for (long i = 0; i < angles; i++) {
            const long a = interleaved ? 2 * i : i, b = a + (interleaved ? 1 : angles);
            const double cosine = cosines[row * angles + i], sine = sign * (double)sines[row * angles + i];
            to[a] = from[a] * cosine - from[b] * sine, to[b] = from[b] * cosine + from[a] * sine;
          }
        };
        const Doubles wide_q = widen(q), wide_shared = widen(shared), wide_dq = widen(dq);
        Doubles want_q = wide_q, want_k(all * width), want_v(all * c.value), want_dq = wide_dq, want_dkv(all * both), want_shared(c.rows * c.rope);
        for (long r = 0; r < c.rows; r++) {
          Doubles sum(c.rope);
          for (long h = r * c.heads; h < (r + 1) * c.heads; h++) {
            turn(wide_q.data() + h * width + c.nope, want_q.data() + h * width + c.nope, r, 1);
            turn(wide_dq.data() + h * width + c.nope, want_dq.data() + h * width + c.nope, r, -1);
            turn(wide_shared.data() + r * c.rope, want_k.data() + h * width + c.nope, r, 1);
            for (long i = 0; i < c.nope; i++) want_k[h * width + i] = kv[h * both + i], want_dkv[h * both + i] = dk[h * width + i];
            for (long i = 0; i < c.value; i++) want_v[h * c.value + i] = kv[h * both + c.nope + i], want_dkv[h * both + c.nope + i] = dv[h * c.value + i];
            for (long i = 0; i < c.rope; i++) sum[i] += dk[h * width + c.nope + i];
          }
          turn(sum.data(), want_shared.data() + r * c.rope, r, -1);
        }
        const LatentHeads shape = {c.heads, c.nope, c.rope, c.value, interleaved};
        std::vector<Floats> first;
        for (int threads = 1; threads <= 3; threads++) {
          Engine engine(threads, RX_FILL(latent_heads));
          std::vector<Halved> halves;
          halves.reserve(16);
          const auto given = [&](const Floats& x) {
            if (!half) return values_of(x.data());
            halves.push_back(halved(x));
            return Values{halves.back().data(), 1};
          };
          std::vector<Floats> outs = {Floats(q.size(), 99.f), Floats(q.size(), 99.f), Floats(dv.size(), 99.f),
                                      Floats(q.size(), 99.f), Floats(kv.size(), 99.f), Floats(shared.size(), 99.f)};
          std::vector<Values> to;
          for (Floats& out : outs) to.push_back(given(out));
          engine.table.latent_heads(*engine, given(q), given(kv), given(shared), cosines.data(), sines.data(), to[0], to[1], to[2], c.rows, shape);
          engine.table.latent_heads_grad(*engine, given(dq), given(dk), given(dv), cosines.data(), sines.data(), to[3], to[4], to[5], c.rows, shape);
          if (half)
            for (long i = 0; i < 6; i++) outs[i] = widened(halves[i]);
          const double near = half ? 5e-3 : 1e-6;
          const Doubles* const wants[] = {&want_q, &want_k, &want_v, &want_dq, &want_dkv, &want_shared};
          const char* const names[] = {" queries", " keys", " values", " dq", " dkv", " dshared"};
          for (long i = 0; i < 6; i++) expect_close(name + names[i], outs[i], *wants[i], near, near);
          if (threads == 1) first = outs;
          for (long i = 0; i < 6; i++) expect_same_bits(name + names[i], outs[i], first[i]);
        }
      }
  return finish();
}
