// Normal and uniform numbers as a pure function of keys: the formulas of random.py, in one pass and without memory between.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

static inline uint32_t mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0xEB352Du;
  x = (x ^ (x >> 15)) * 0x6CA68Bu;
  return x ^ (x >> 16);
}

struct Key {
  uint32_t first, second;
  Key fold(uint32_t number) const {
    const uint32_t word = mix(number * 0x9E3779u + 1u);
    const uint32_t one = mix(first ^ (word & 0xFFFFFFu));
    return {one, mix((second + ((word >> 8) & 0xFFFFFFu)) ^ one)};
  }
  uint32_t word(uint32_t place) const { return mix(mix(place + first) ^ second); }
};

// The logarithm of a normal number: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m - 1) / (m + 1)).
static inline float logarithm(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  const int32_t e = (bits - 0x3f3504f3) >> 23;
  bits -= e << 23;
  float m;
  std::memcpy(&m, &bits, 4);
  const float z = (m - 1.f) / (m + 1.f), s = z * z;
  const float series = s * (1.f / 3 + s * (1.f / 5 + s * (1.f / 7 + s * (1.f / 9 + s * (1.f / 11)))));
  return float(e) * 0.693147181f + 2.f * (z + z * series);
}

static inline void pair(uint32_t a, uint32_t b, float& first, float& second) {
  const float radius = std::sqrt(-2.f * logarithm((float(int32_t(a >> 8)) + .5f) * 0x1p-24f));
  const float angle = (float(int32_t(b) >> 8) + .5f) * float(M_PI_4 * 0x1p-23);
  const float q = angle * angle;
  const float sine = angle * (1.f + q * (-1.f / 6 + q * (1.f / 120 + q * (-1.f / 5040 + q * (1.f / 362880)))));
  const float cosine = 1.f + q * (-1.f / 2 + q * (1.f / 24 + q * (-1.f / 720 + q * (1.f / 40320 - q * (1.f / 3628800)))));
  const bool swap = b & 1;
  first = radius * (swap ? sine : cosine) * (1.f - float(int32_t(b & 2)));
  second = radius * (swap ? cosine : sine) * (1.f - float(int32_t((b & 4) >> 1)));
}

static void draw(Key key, uint32_t count, float* out) {
  const uint32_t half = (count + 1) / 2, pairs = count / 2;
#pragma omp simd
  for (uint32_t i = 0; i < pairs; i++) pair(key.word(i), key.word(i + half), out[i], out[i + half]);
  if (half > pairs) {
    float beyond;
    pair(key.word(pairs), key.word(pairs + half), out[pairs], beyond);
  }
}

// For each of `runs` keys and each of `steps` steps `count` numbers, out[runs, steps, count]. Folded into a key are the
// step's number, at[run] + step, unless `at` is null, and then the `folds` numbers.
extern "C" void neoteny_normal(const uint32_t* keys, const int32_t* at, int64_t runs, int64_t steps,
                               const uint32_t* folded, int64_t folds, int64_t count, float* out) {
  for (int64_t run = 0; run < runs; run++)
    for (int64_t step = 0; step < steps; step++, out += count) {
      Key key{keys[2 * run], keys[2 * run + 1]};
      if (at) key = key.fold(uint32_t(at[run]) + uint32_t(step));
      for (int64_t f = 0; f < folds; f++) key = key.fold(folded[f]);
      draw(key, uint32_t(count), out);
    }
}

// Adds sigma times the numbers of a key, into which `folds` numbers are folded, to tensors of these sizes one after
// the other.
extern "C" void neoteny_perturb(const uint32_t* key, const uint32_t* folded, int64_t folds, float* const* tensors,
                                const int64_t* sizes, int64_t count, float sigma) {
  Key own{key[0], key[1]};
  for (int64_t f = 0; f < folds; f++) own = own.fold(folded[f]);
  std::vector<float> drawn(std::accumulate(sizes, sizes + count, int64_t(0)));
  draw(own, uint32_t(drawn.size()), drawn.data());
  const float* noise = drawn.data();
  for (int64_t t = 0; t < count; noise += sizes[t++])
    for (int64_t i = 0; i < sizes[t]; i++) tensors[t][i] += sigma * noise[i];
}

// `random.uniform`: multiples of 2^-24 plus 2^-25, from the words of each key at the places from 0 on, out[keys, count].
extern "C" void neoteny_uniform(const uint32_t* keys, int64_t many, int64_t count, float* out) {
  for (int64_t k = 0; k < many; k++, out += count) {
    const Key own{keys[2 * k], keys[2 * k + 1]};
#pragma omp simd
    for (uint32_t i = 0; i < uint32_t(count); i++) out[i] = (float(int32_t(own.word(i) >> 8)) + .5f) * 0x1p-24f;
  }
}
