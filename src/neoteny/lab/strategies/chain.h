// What the kernels of chains of linear layers share: activations, losses, who judges units.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

enum Activation { RELU, LEAKY_RELU, ELU, TANH, SIGMOID, SWISH, LINEAR };

template <class Body> static inline __attribute__((always_inline)) void each(int n, Body body) {
  #pragma omp simd
  for (int i = 0; i < n; i++) body(i);
}

// In place z -> f(z), and slope = f'(z).
static void activate(Activation f, float* __restrict__ z, float* __restrict__ slope, int n) {
  switch (f) {
    case RELU: each(n, [=](int i) { slope[i] = z[i] > 0 ? 1.f : 0.f; z[i] = z[i] > 0 ? z[i] : z[i] * 0.f; }); break;
    case LEAKY_RELU: each(n, [=](int i) { slope[i] = z[i] > 0 ? 1.f : .01f; z[i] *= slope[i]; }); break;
    case ELU: each(n, [=](int i) {
      float e = std::exp(std::min(z[i], 0.f));
      slope[i] = z[i] > 0 ? 1.f : e;
      z[i] = z[i] > 0 ? z[i] : e - 1;
    }); break;
    case TANH: each(n, [=](int i) { z[i] = std::tanh(z[i]); slope[i] = 1 - z[i] * z[i]; }); break;
    case SIGMOID: each(n, [=](int i) { z[i] = 1 / (1 + std::exp(-z[i])); slope[i] = z[i] * (1 - z[i]); }); break;
    case SWISH: each(n, [=](int i) {
      float s = 1 / (1 + std::exp(-z[i]));
      slope[i] = s + z[i] * s * (1 - s);
      z[i] *= s;
    }); break;
    case LINEAR: each(n, [=](int i) { slope[i] = 1; }); break;
  }
}

// Loss of the outputs z of one example and its gradient e; sums gets the loss, and 1 where the largest logit is the
// label's.
[[maybe_unused]] static void judge_outputs(bool mse, const float* z, const void* targets, long k, int n, float* e, double* sums) {
  if (mse) {
    const float* y = (const float*)targets + k * n;
    float total = 0;
    for (int i = 0; i < n; i++) { float r = z[i] - y[i]; total += r * r; e[i] = 2 * r / n; }
    sums[0] += total / n;
    return;
  }
  const int64_t y = ((const int64_t*)targets)[k];
  const int top = std::max_element(z, z + n) - z;
  float total = 0;
  for (int i = 0; i < n; i++) total += e[i] = std::exp(z[i] - z[top]);
  sums[0] += std::log(total) + z[top] - z[y];
  sums[1] += top == y;
  for (int i = 0; i < n; i++) e[i] /= total;
  e[y] -= 1;
}

// Who judges units: continual backpropagation, or backbone and fringe; and what is kept of each layer's units.
enum Judge { NOTHING, CONTRIBUTION, BACKBONE };
enum Kept { SHARE, MEAN, UTILITY, AGE, IN_BACKBONE, REPLACED, PROMOTED, DEMOTED, DISTURBANCE, KEPT };

// `count` units of a layer (of the run in this lane) are due after a step. New incoming weights: those of unit j begin at
// fresh + j * stride.
struct Event {
  int64_t step;
  int32_t lane, layer, count, stride;
  const float* fresh;
};

// The unit of least utility among those older than maturity and not in the backbone, the first of equal ones; -1 if
// there is none. Without a backbone `kept` is null.
[[maybe_unused]] static int least_useful(const int32_t* age, const float* utility, const float* share, const int32_t* kept,
                                         int n, int stride, float maturity) {
  int unit = -1;
  float least = INFINITY;
  for (int j = 0; j < n; j++) {
    if (age[j * stride] <= maturity || (kept && kept[j * stride])) continue;
    const float u = utility[j * stride] / std::max(share[j * stride], 1e-30f);
    if (unit < 0 || u < least) { unit = j; least = u; }
  }
  return unit;
}
