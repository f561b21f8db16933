// K steps of stochastic gradient descent, one example each, on a chain of linear layers and activations.
//
// The gradient of a linear layer for one example is the outer product of two vectors, so a step never needs a gradient
// matrix: weights [out, in] are updated in place. Each weight is read as rarely as the algorithm allows. The first
// layer's update is delayed: one pass does it together with the next step's forward product. In deeper layers one pass
// does the backward product and the update, four rows at a time. The same passes sum |w|, from which the utilities of
// continual backpropagation are computed.
#include "chain.h"
#include <vector>

typedef std::vector<float> Vector;

static float dot(const float* __restrict__ w, const float* __restrict__ x, int n) {
  float s = 0;
  #pragma omp simd reduction(+ : s)
  for (int i = 0; i < n; i++) s += w[i] * x[i];
  return s;
}

// w <- keep w + c x; returns the new w . next, and the sum of |w|.
static float update_then_dot(float* __restrict__ w, float keep, float c, const float* __restrict__ x,
                             const float* __restrict__ next, int n, float* magnitude) {
  float s = 0, a = 0;
  #pragma omp simd reduction(+ : s, a)
  for (int i = 0; i < n; i++) {
    float v = keep * w[i] + c * x[i];
    w[i] = v;
    s += v * next[i];
    a += std::fabs(v);
  }
  *magnitude = a;
  return s;
}

// back += W^T delta, then W <- keep W - step delta h^T, for N rows of W; MAGNITUDE: sums of the new |W| by row and column.
template <bool MAGNITUDE, int N>
static inline void backward_rows(float* __restrict__ W, const float* __restrict__ delta, float keep, float step,
                                 const float* __restrict__ h, float* __restrict__ back, float* __restrict__ column,
                                 float* __restrict__ row, int in) {
  float c[N], sum[4] = {0, 0, 0, 0};
  for (int k = 0; k < N; k++) c[k] = -step * delta[k];
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  #pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int j = 0; j < in; j++) {
    float b = back[j], a = MAGNITUDE ? column[j] : 0.f, x = h[j];
    auto visit = [&](int k, float& s) __attribute__((always_inline)) {
      float v = W[j + k * in];
      b += delta[k] * v;
      W[j + k * in] = v = keep * v + c[k] * x;
      if (MAGNITUDE) { a += std::fabs(v); s += std::fabs(v); }
    };
    visit(0, s0);
    if (N == 4) { visit(1 % N, s1); visit(2 % N, s2); visit(3 % N, s3); }
    back[j] = b;
    if (MAGNITUDE) column[j] = a;
  }
  sum[0] = s0; sum[1] = s1; sum[2] = s2; sum[3] = s3;
  if (MAGNITUDE) for (int k = 0; k < N; k++) row[k] = sum[k];
}

template <bool MAGNITUDE>
static void backward(float* W, const float* delta, float keep, float step, const float* h, float* back, float* column,
                     float* row, int out, int in) {
  std::fill(back, back + in, 0.f);
  if (MAGNITUDE) std::fill(column, column + in, 0.f);
  int i = 0;
  for (; i + 4 <= out; i += 4)
    backward_rows<MAGNITUDE, 4>(W + (long)i * in, delta + i, keep, step, h, back, column, row + i, in);
  for (; i < out; i++)
    backward_rows<MAGNITUDE, 1>(W + (long)i * in, delta + i, keep, step, h, back, column, row + i, in);
}

// What continual backpropagation keeps of a hidden layer, [units] each, and which utility it is.
struct Utility { float **share, **mean, **utility; float decay; bool centred, divided; };

// Normal numbers for all parameters, added with the factor sigma after every step, and who draws them (`units/normal.cpp`).
struct Noise {
  void (*draw)(const uint32_t*, const int32_t*, int64_t, int64_t, const uint32_t*, int64_t, int64_t, float*);
  const uint32_t* key;
  int32_t at;
  uint32_t folded;
  float sigma;
};

// The update of the first layer that waits, then the noise of step k on all layers.
static void perturb(const Noise& noise, int32_t k, Vector& drawn, float** W, float** B, const int* size, int layers,
                    float keep, const Vector& waiting, const float* x) {
  const int32_t at = noise.at + k;
  noise.draw(noise.key, &at, 1, 1, &noise.folded, 1, drawn.size(), drawn.data());
  const float sigma = noise.sigma, *e = drawn.data();
  for (int i = 0; i < size[1]; i++, e += size[0]) {
    float *w = W[0] + (long)i * size[0], c = waiting[i];
    each(size[0], [=](int j) { w[j] = keep * w[j] + c * x[j] + sigma * e[j]; });
  }
  for (int l = 0; l < layers; l++) {
    const int out = size[l + 1], entries = out * size[l];
    if (l) {
      float* w = W[l];
      each(entries, [=](int j) { w[j] += sigma * e[j]; });
      e += entries;
    }
    float* b = B[l];
    each(out, [=](int j) { b[j] += sigma * e[j]; });
    e += out;
  }
}

template <bool CBP>
static void train(float** W, float** B, const int* size, int layers, Activation f, bool mse, const float* xs,
                  const void* ys, float step, float decay_weights, long steps, const Utility& u, const Noise& noise,
                  float** features, double* sums) {
  std::vector<Vector> h(layers + 1), slope(layers + 1), delta(layers + 1), column(layers + 1), row(layers + 1);
  for (int l = 0; l <= layers; l++)
    for (auto* v : {&h[l], &slope[l], &delta[l], &column[l], &row[l]}) v->assign(size[l], 0.f);
  const float keep = 1 - step * decay_weights, eta = u.decay;
  const Vector nothing(size[0], 0.f);
  Vector waiting(size[1], 0.f), new_utility(size[1], 0.f), drawn;
  if (noise.draw) {
    size_t all = 0;
    for (int l = 0; l < layers; l++) all += (size_t)size[l + 1] * (size[l] + 1);
    drawn.assign(all, 0.f);
  }

  // utility of layer l, once its sums of |w| over outgoing (column) and incoming (row) weights include this step's update
  auto rate = [&](int l, const float* unit) {
    float *q = u.utility[l - 1], *in = row[l].data();
    const bool divided = u.divided;
    each(size[l], [=](int j) { q[j] = eta * q[j] + (divided ? unit[j] / std::max(in[j], 1e-30f) : unit[j]); });
  };

  const float* before = xs;
  for (long k = 0; k <= steps; k++) {  // the round after the last step only does the first layer's update
    if (noise.draw && k == steps) break;
    const float* x = k < steps ? xs + k * size[0] : nothing.data();
    for (int i = 0; i < size[1]; i++) {
      float* w = W[0] + (long)i * size[0];
      h[1][i] = B[0][i] + (k && !noise.draw ? update_then_dot(w, keep, waiting[i], before, x, size[0], &row[1][i])
                             : dot(w, x, size[0]));
    }
    if (CBP && k && layers > 1) rate(1, new_utility.data());
    if (k == steps) break;
    for (int l = 1; l < layers; l++) {
      activate(f, h[l].data(), slope[l].data(), size[l]);
      for (int i = 0; i < size[l + 1]; i++) h[l + 1][i] = B[l][i] + dot(W[l] + (long)i * size[l], h[l].data(), size[l]);
    }
    if (k + 1 == steps)
      for (int l = 1; l < layers; l++) std::copy(h[l].begin(), h[l].end(), features[l - 1]);
    judge_outputs(mse, h[layers].data(), ys, k, size[layers], delta[layers].data(), sums);
    for (int l = layers - 1; l > 0; l--) {
      const int out = size[l + 1], in = size[l];
      backward<CBP>(W[l], delta[l + 1].data(), keep, step, h[l].data(), delta[l].data(), column[l].data(),
                    row[l + 1].data(), out, in);
      float *b = B[l], *above = delta[l + 1].data(), *here = delta[l].data(), *s = slope[l].data();
      each(out, [=](int i) { b[i] = keep * b[i] - step * above[i]; });
      each(in, [=](int j) { here[j] *= s[j]; });
      if (CBP) {
        float *mean = u.mean ? u.mean[l - 1] : nullptr, *share = u.share[l - 1], *a = h[l].data(), *c = column[l].data();
        each(in, [=](int j) { share[j] = eta * share[j] + (1 - eta); });
        if (mean) each(in, [=](int j) { mean[j] = eta * mean[j] + (1 - eta) * a[j]; });
        if (u.centred) each(in, [=](int j) { c[j] *= (1 - eta) * std::fabs(a[j] - mean[j] / share[j]); });
        else each(in, [=](int j) { c[j] *= (1 - eta) * std::fabs(a[j]); });
        if (l == 1) std::copy(c, c + in, new_utility.begin());  // its own weights are not updated yet
        if (l + 1 < layers) rate(l + 1, column[l + 1].data());
      }
    }
    for (int i = 0; i < size[1]; i++) {
      waiting[i] = -step * delta[1][i];
      B[0][i] = keep * B[0][i] + waiting[i];
    }
    if (noise.draw) perturb(noise, k, drawn, W, B, size, layers, keep, waiting, x);
    before = x;
  }
}

extern "C" void neoteny_rank_one(float** W, float** B, const int* size, int layers, int activation, int mse,
                                 const float* xs, const void* ys, float step, float decay_weights, long steps,
                                 float** share, float** mean, float** utility, float decay, int centred, int divided,
                                 float** features, double* sums, void* draw, const uint32_t* key, int at, int folded,
                                 float sigma) {
  const Noise noise{(decltype(Noise::draw))draw, key, at, (uint32_t)folded, sigma};
  const Utility u{share, mean, utility, decay, centred != 0, divided != 0};
  (share ? train<true> : train<false>)(W, B, size, layers, (Activation)activation, mse != 0, xs, ys, step, decay_weights,
                                       steps, u, noise, features, sums);
}
