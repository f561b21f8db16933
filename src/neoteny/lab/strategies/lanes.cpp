// K steps of stochastic gradient descent, one example each, on many small chains of linear layers side by side.
//
// Lane r of every vector belongs to run r, so each operation does the same for W runs at once, and no sum runs over a
// vector. The weights of one block of W runs stay in the first-level cache for all steps. Continual backpropagation is
// part of the step: its averages, and its replacements, for which the caller gives the new weights.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

enum Activation { RELU, LEAKY_RELU, ELU, TANH, SIGMOID, SWISH, LINEAR };

constexpr int W = 16;
typedef float V __attribute__((vector_size(4 * W)));
typedef int32_t I __attribute__((vector_size(4 * W)));
typedef double D __attribute__((vector_size(8 * W), aligned(8)));

static inline V all(float x) { return x - V{}; }
static inline V largest(V a, V b) { return a > b ? a : b; }
static inline V magnitude(V a) { return (V)((I)a & 0x7fffffff); }
static inline I finite(V a) { return a - a == V{}; }
template <class F> static inline V each(V a, F f) {
  V b{};
  for (int r = 0; r < W; r++) b[r] = f(a[r]);
  return b;
}

// In place z -> f(z); returns f'(z).
static inline V activate(Activation f, V& z) {
  const V zero{}, one = all(1.f);
  const I on = z > zero;
  switch (f) {
    case RELU: z = on ? z : z * zero; return on ? one : zero;
    case LEAKY_RELU: { V s = on ? one : all(.01f); z *= s; return s; }
    case ELU: {
      V e = each(on ? zero : z, [](float v) { return std::exp(v); });
      z = on ? z : e - 1;
      return on ? one : e;
    }
    case TANH: z = each(z, [](float v) { return std::tanh(v); }); return one - z * z;
    case SIGMOID: z = one / (one + each(-z, [](float v) { return std::exp(v); })); return z * (one - z);
    case SWISH: {
      V s = one / (one + each(-z, [](float v) { return std::exp(v); })), d = s + z * s * (one - s);
      z *= s;
      return d;
    }
    default: return one;
  }
}

// `count` units of a layer of one run are due. New incoming weights: those of unit j begin at fresh + j * stride.
struct Event {
  int64_t step;
  int32_t lane, layer, count, stride;
  const float* fresh;
};

// What belongs to one block of runs; the arrays of weights are [out, in, W], those of units [units, W].
struct Block {
  V **w, **b, **share, **mean, **utility;
  I **age, **replaced;
  V step, keep, eta, maturity;
  V** features;
  D* sums;
  const float* x[W];
  const void* y[W];
  const Event *event, *last;
};

struct Chain {
  const int* size;
  int layers;
  Activation f;
  bool mse, centred, divided;
};

// The loss of the outputs z and its gradient e; adds the loss, and 1 where the largest output is the label's.
static void judge_outputs(const Chain& chain, const Block& o, long k, const V* z, V* e) {
  const int n = chain.size[chain.layers];
  V loss{}, right{};
  if (chain.mse) {
    for (int i = 0; i < n; i++) {
      V y;
      for (int r = 0; r < W; r++) y[r] = ((const float*)o.y[r])[k * n + i];
      const V d = z[i] - y;
      loss += d * d;
      e[i] = 2 * d / (float)n;
    }
    loss /= (float)n;
  } else {
    I label, best{};
    for (int r = 0; r < W; r++) label[r] = (int32_t)((const int64_t*)o.y[r])[k];
    V top = z[0], total{}, own{};
    for (int i = 1; i < n; i++) {
      const I more = z[i] > top;
      best = more ? i - I{} : best;
      top = more ? z[i] : top;
    }
    for (int i = 0; i < n; i++) {
      total += e[i] = each(z[i] - top, [](float v) { return std::exp(v); });
      own = label == i ? z[i] : own;
    }
    loss = each(total, [](float v) { return std::log(v); }) + top - own;
    right = best == label ? all(1.f) : V{};
    for (int i = 0; i < n; i++) e[i] = e[i] / total - (label == i ? all(1.f) : V{});
  }
  o.sums[0] += __builtin_convertvector(loss, D);
  o.sums[1] += __builtin_convertvector(right, D);
}

// The eligible units of least utility of one run, at most as many as are due, are made new.
static void replace(const Chain& chain, const Block& o, const Event& event) {
  const int l = event.layer, r = event.lane, n = chain.size[l + 1], in = chain.size[l], out = chain.size[l + 2];
  for (int c = 0; c < event.count; c++) {
    int unit = -1;
    float least = INFINITY;
    for (int j = 0; j < n; j++) {
      if (o.age[l][j][r] <= o.maturity[r]) continue;
      const float u = o.utility[l][j][r] / std::max(o.share[l][j][r], 1e-30f);
      if (unit < 0 || u < least) { unit = j; least = u; }
    }
    if (unit < 0) return;
    for (int i = 0; i < in; i++) o.w[l][unit * in + i][r] = event.fresh[unit * event.stride + i];
    o.b[l][unit][r] = 0;
    for (int i = 0; i < out; i++) o.w[l + 1][i * n + unit][r] = 0;
    o.age[l][unit][r] = 0;
    o.share[l][unit][r] = o.utility[l][unit][r] = 0;
    if (o.mean) o.mean[l][unit][r] = 0;
    o.replaced[l][0][r] += 1;
  }
}

template <bool CBP> static void train(const Chain& chain, Block& o, long steps) {
  const int layers = chain.layers, *size = chain.size;
  int widest = 0;
  for (int l = 0; l <= layers; l++) widest = std::max(widest, size[l]);
  std::vector<V> memory((size_t)(5 * layers + 5) * widest);
  auto row = [&](int what, int l) { return memory.data() + (size_t)(what * (layers + 1) + l) * widest; };
  // activations, slopes, errors; sums of |w| out of a unit and into it
  enum { H, SLOPE, DELTA, SENT, FED };
  for (long k = 0; k < steps; k++) {
    V* x = row(H, 0);
    for (int i = 0; i < size[0]; i++)
      for (int r = 0; r < W; r++) x[i][r] = o.x[r][k * size[0] + i];
    for (int l = 0; l < layers; l++) {
      const V *h = row(H, l), *w = o.w[l];
      V *z = row(H, l + 1), *slope = row(SLOPE, l + 1);
      const int in = size[l], out = size[l + 1];
      for (int j = 0; j < out; j++, w += in) {
        V s = o.b[l][j], t{};
        int i = 0;
        for (; i + 2 <= in; i += 2) { s += w[i] * h[i]; t += w[i + 1] * h[i + 1]; }
        if (i < in) s += w[i] * h[i];
        z[j] = s + t;
      }
      if (l + 1 < layers) for (int j = 0; j < out; j++) slope[j] = activate(chain.f, z[j]);
    }
    judge_outputs(chain, o, k, row(H, layers), row(DELTA, layers));
    for (int l = layers - 1; l >= 0; l--) {
      const V *h = row(H, l), *above = row(DELTA, l + 1), *slope = row(SLOPE, l);
      V *w = o.w[l], *here = row(DELTA, l), *sent = row(SENT, l), *fed = row(FED, l + 1);
      const int in = size[l], out = size[l + 1];
      if (l) std::fill(here, here + in, V{});
      if (CBP && l) std::fill(sent, sent + in, V{});
      for (int j = 0; j < out; j++, w += in) {
        const V error = above[j], change = -o.step * error;
        V total{};
        for (int i = 0; i < in; i++) {
          V v = w[i];
          if (l) here[i] += error * v;
          w[i] = v = o.keep * v + change * h[i];
          if (CBP) total += magnitude(v);
          if (CBP && l) sent[i] += magnitude(v);
        }
        o.b[l][j] = o.keep * o.b[l][j] + change;
        fed[j] = total;
      }
      if (l) for (int i = 0; i < in; i++) here[i] *= slope[i];
    }
    if (CBP) {
      const V rest = all(1.f) - o.eta;
      for (int l = 0; l + 1 < layers; l++) {
        const V *h = row(H, l + 1), *sent = row(SENT, l + 1), *fed = row(FED, l + 1);
        for (int j = 0; j < size[l + 1]; j++) {
          const V share = o.eta * o.share[l][j] + rest;
          V u = h[j], mean{};
          I seen = finite(u);
          if (o.mean) {
            mean = o.eta * o.mean[l][j] + rest * h[j];
            if (chain.centred) u -= mean / share;
          }
          u = magnitude(u) * sent[j];
          if (chain.divided) u /= largest(fed[j], all(1e-30f));
          seen &= finite(u);
          o.age[l][j] += 1;
          o.share[l][j] = seen ? share : o.share[l][j];
          if (o.mean) o.mean[l][j] = seen ? mean : o.mean[l][j];
          o.utility[l][j] = seen ? o.eta * o.utility[l][j] + rest * u : o.utility[l][j];
        }
      }
      for (; o.event < o.last && o.event->step == k; o.event++) replace(chain, o, *o.event);
    }
  }
  for (int l = 0; l + 1 < layers; l++) std::copy_n(row(H, l + 1), size[l + 1], o.features[l]);
}

// All pointers to blocks are to the first of `blocks`, which follow each other; `hyper` is [4, blocks, W]: step size,
// weight decay, eta and maturity. x is [runs, steps, in]; sums [blocks, 2, W]; events are ordered by block, then step.
extern "C" void neoteny_lanes(float** w, float** b, const int* size, int layers, int activation, int mse, long blocks,
                              long runs, long steps, const float* x, const void* y, const float* hyper, float** share,
                              float** mean, float** utility, int32_t** age, int32_t** replaced, int centred,
                              int divided, float** features, double* sums, const Event* events,
                              const int64_t* events_until) {
  const Chain chain{size, layers, (Activation)activation, mse != 0, centred != 0, divided != 0};
  const long target = mse ? 4L * size[layers] : 8L;
  std::vector<V*> pw(layers), pb(layers), ps(layers), pm(layers), pu(layers), pf(layers);
  std::vector<I*> pa(layers), pr(layers);
  const V* settings = (const V*)hyper;
  for (long n = 0; n < blocks; n++) {
    for (int l = 0; l < layers; l++) {
      pw[l] = (V*)w[l] + n * size[l] * size[l + 1];
      pb[l] = (V*)b[l] + n * size[l + 1];
      if (l + 1 == layers) continue;
      pf[l] = (V*)features[l] + n * size[l + 1];
      if (!share) continue;
      ps[l] = (V*)share[l] + n * size[l + 1];
      if (mean) pm[l] = (V*)mean[l] + n * size[l + 1];
      pu[l] = (V*)utility[l] + n * size[l + 1];
      pa[l] = (I*)age[l] + n * size[l + 1];
      pr[l] = (I*)replaced[l] + n;
    }
    const V step = settings[n];
    Block o{pw.data(), pb.data(), ps.data(), mean ? pm.data() : nullptr, pu.data(), pa.data(), pr.data(), step,
            1 - step * settings[blocks + n], settings[2 * blocks + n], settings[3 * blocks + n], pf.data(),
            (D*)sums + 2 * n, {}, {}, events + (n ? events_until[n - 1] : 0), events + events_until[n]};
    for (int r = 0; r < W; r++) {
      const long run = std::min(n * W + r, runs - 1);  // lanes beyond the last run repeat it
      o.x[r] = x + run * steps * size[0];
      o.y[r] = (const char*)y + run * steps * target;
    }
    (share ? train<true> : train<false>)(chain, o, steps);
  }
}
