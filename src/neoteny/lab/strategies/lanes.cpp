// K steps of a rule, one example each, on many small chains of linear layers side by side.
//
// Lane r of every vector belongs to run r, so each operation does the same for W runs at once, and no sum runs over a
// vector. The weights of one block of W runs stay in the nearest cache for all steps. Continual backpropagation is part
// of the step: its averages, and its replacements, for which the caller gives the new weights. The compiler is given the
// rule, RULE: `SGD`, or one of `rules.h`.
#include "chain.h"
#include "rules.h"
#include <vector>

// One vector of the processor: GCC takes longer ones through memory.
#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
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

// The step size is in P, and what a weight keeps of itself is in the place of the meta step size.
struct SGD {
  static constexpr bool BOUNDED = false;
  static constexpr int STATE = 0;
  explicit SGD(const float*) {}
  template <class T> T measured(T C, T) const { return C; }
  template <class T> T sum(T total) const { return total; }
  float measure(float, float, float, float, float* const*, int) const { return 0; }
  float move(float keep, float x, float P, float, float& w, float* const*, int) const {
    w = keep * w + P * x;
    return 0;
  }
};

typedef RULE Rule;
constexpr bool OWN = Rule::STATE > 0;  // a step size for each weight

// What belongs to one block of runs; the arrays of weights and of their states are [out, in, W], those of biases and
// units [units, W].
struct Block {
  V **w[1 + Rule::STATE], **b[1 + Rule::STATE];
  V **share, **mean, **utility;
  I **age, **replaced;
  V step, meta, eta, maturity, scale;
  V newborn[1 + Rule::STATE];
  V** features;
  D* sums;
  const float *x[W], *latest[W];  // `latest`: examples that are predicted before the step, where labels come later
  const void *y[W], *truth[W];
  const Event *event, *last;
};

// A weight, or a bias, of all lanes: its place in arrays of weights and states.
struct Place {
  float *w, *state[1 + Rule::STATE];
  Place(V** const* arrays, int l, long i) : w((float*)(arrays[0][l] + i)) {
    for (int k = 0; k < Rule::STATE; k++) state[k] = (float*)(arrays[k + 1][l] + i);
  }
  V measure(const Rule& rule, const V& meta, const V& x, const V& P, const V& C) const {
    V share;
    const float *m = (const float*)&meta, *xs = (const float*)&x, *p = (const float*)&P, *c = (const float*)&C;
    float* to = (float*)&share;
    #pragma omp simd
    for (int r = 0; r < W; r++) to[r] = rule.measure(m[r], xs[r], p[r], c[r], state, r);
    return share;
  }
  V move(const Rule& rule, const V& meta, const V& x, const V& P, const V& C) const {
    V share;
    const float *m = (const float*)&meta, *xs = (const float*)&x, *p = (const float*)&P, *c = (const float*)&C;
    float* to = (float*)&share;
    #pragma omp simd
    for (int r = 0; r < W; r++) to[r] = rule.move(m[r], xs[r], p[r], c[r], w[r], state, r);
    return share;
  }
};

struct Chain {
  const int* size;
  int layers;
  Activation f;
  bool mse, later, centred, divided;
  Rule rule;
};

// The loss of the outputs z and its gradient e; adds the loss, and 1 where the largest output is the label's.
static void judge_outputs(const Chain& chain, const void* const* targets, long k, const V* z, V* e, D* sums) {
  const int n = chain.size[chain.layers];
  V loss{}, right{};
  if (chain.mse) {
    for (int i = 0; i < n; i++) {
      V y;
      for (int r = 0; r < W; r++) y[r] = ((const float*)targets[r])[k * n + i];
      const V d = z[i] - y;
      loss += d * d;
      e[i] = 2 * d / (float)n;
    }
    loss /= (float)n;
  } else {
    I label, best{};
    for (int r = 0; r < W; r++) label[r] = (int32_t)((const int64_t*)targets[r])[k];
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
  sums[0] += __builtin_convertvector(loss, D);
  sums[1] += __builtin_convertvector(right, D);
}

// The eligible units of least utility of one run, at most as many as are due, are made new.
static void replace(const Chain& chain, const Block& o, const Event& event) {
  const int l = event.layer, r = event.lane, n = chain.size[l + 1], in = chain.size[l], out = chain.size[l + 2];
  auto renew = [&](V** const* arrays, int layer, int i, float weight) {
    arrays[0][layer][i][r] = weight;
    for (int k = 0; k < Rule::STATE; k++) arrays[k + 1][layer][i][r] = o.newborn[k][r] / (k ? 1 : o.scale[r]);
  };
  for (int c = 0; c < event.count; c++) {
    const int unit = least_useful((const int32_t*)o.age[l] + r, (const float*)o.utility[l] + r,
                                  (const float*)o.share[l] + r, n, W, o.maturity[r]);
    if (unit < 0) return;
    for (int i = 0; i < in; i++) renew(o.w, l, unit * in + i, event.fresh[unit * event.stride + i]);
    renew(o.b, l, unit, 0);
    for (int i = 0; i < out; i++) renew(o.w, l + 1, i * n + unit, 0);
    o.age[l][unit][r] = 0;
    o.share[l][unit][r] = o.utility[l][unit][r] = 0;
    if (o.mean) o.mean[l][unit][r] = 0;
    o.replaced[l][0][r] += 1;
  }
}

// Puts the common factors into the step sizes.
static void settle(const Chain& chain, Block& o) {
  if (!Rule::BOUNDED) return;
  for (int l = 0; l < chain.layers; l++) {
    const int in = chain.size[l], out = chain.size[l + 1];
    for (int i = 0; i < in * out; i++) o.w[1][l][i] *= o.scale;
    for (int i = 0; i < out; i++) o.b[1][l][i] *= o.scale;
  }
  o.scale = all(1.f);
}

template <bool CBP> static void train(const Chain& chain, Block& o, long steps) {
  const int layers = chain.layers, *size = chain.size;
  const Rule& rule = chain.rule;
  const V one = all(1.f);
  int widest = 0;
  for (int l = 0; l <= layers; l++) widest = std::max(widest, size[l]);
  std::vector<V> memory((size_t)(5 * layers + 5) * widest);
  auto row = [&](int what, int l) { return memory.data() + (size_t)(what * (layers + 1) + l) * widest; };
  // activations, slopes, errors; sums of |w| out of a unit and into it
  enum { H, SLOPE, DELTA, SENT, FED };
  // the weights of all units of layer l move, where their pushes are `along` times their errors; `back`: errors flow back
  auto move = [&](int l, V along, bool back) {
    const V *h = row(H, l), *above = row(DELTA, l + 1);
    V *here = row(DELTA, l), *sent = row(SENT, l), *fed = row(FED, l + 1), total{};
    const int in = size[l], out = size[l + 1];
    if (CBP && l) std::fill(sent, sent + in, V{});
    for (int j = 0; j < out; j++) {
      const V error = above[j], P = along * error, C = o.scale * error * error;
      V *w = o.w[0][l] + (long)j * in, sum{};
      for (int i = 0; i < in; i++) {
        if (back) here[i] += error * w[i];
        const V share = Place(o.w, l, (long)j * in + i).move(rule, o.meta, h[i], P, C);
        if (OWN && !Rule::BOUNDED) total += share;
        if (CBP) {
          const V size = magnitude(w[i]);
          sum += size;
          if (l) sent[i] += size;
        }
      }
      const V share = Place(o.b, l, j).move(rule, o.meta, one, P, C);
      if (OWN && !Rule::BOUNDED) total += share;
      fed[j] = sum;
    }
    return total;
  };
  // what a bounded rule does before the bound is known
  auto measure = [&](int l, V along) {
    const V *h = row(H, l), *above = row(DELTA, l + 1);
    V *here = row(DELTA, l), total{};
    const int in = size[l], out = size[l + 1];
    for (int j = 0; j < out; j++) {
      const V error = above[j], P = along * error, C = rule.measured(V(error * error), o.scale);
      const V* w = o.w[0][l] + (long)j * in;
      for (int i = 0; i < in; i++) {
        if (l) here[i] += error * w[i];
        total += Place(o.w, l, (long)j * in + i).measure(rule, o.meta, h[i], P, C);
      }
      total += Place(o.b, l, j).measure(rule, o.meta, one, P, C);
    }
    return total;
  };
  auto predict = [&](const float* const* inputs, long k) {
    V* x = row(H, 0);
    for (int i = 0; i < size[0]; i++)
      for (int r = 0; r < W; r++) x[i][r] = inputs[r][k * size[0] + i];
    for (int l = 0; l < layers; l++) {
      const V *h = row(H, l), *w = o.w[0][l];
      V* z = row(H, l + 1);
      const int in = size[l], out = size[l + 1];
      for (int j = 0; j < out; j++, w += in) {
        V s = o.b[0][l][j], t{};
        int i = 0;
        for (; i + 2 <= in; i += 2) { s += w[i] * h[i]; t += w[i + 1] * h[i + 1]; }
        if (i < in) s += w[i] * h[i];
        z[j] = s + t;
      }
      if (l + 1 < layers) activate(chain.f, (float*)z, (float*)row(SLOPE, l + 1), out * W);
    }
  };
  for (long k = 0; k < steps; k++) {
    V *e = row(DELTA, layers), along = OWN ? -one : -o.step, total{};
    D unused[2];
    if (chain.later) {
      predict(o.latest, k);
      judge_outputs(chain, o.truth, k, row(H, layers), e, o.sums);
    }
    predict(o.x, k);
    judge_outputs(chain, o.y, k, row(H, layers), e, chain.later ? unused : o.sums);
    const int n = size[layers];
    if (OWN && chain.mse && n == 1) {  // a prediction: p = delta dy/dw, q = (dy/dw)^2
      along = -.5f * e[0];
      e[0] = one;
    } else if (OWN && chain.mse) {  // half the squared error, summed over the outputs
      for (int i = 0; i < n; i++) e[i] *= .5f * n;
    }
    for (int l = layers - 1; l >= 0; l--) {
      const V* slope = row(SLOPE, l);
      V* here = row(DELTA, l);
      if (l) std::fill(here, here + size[l], V{});
      total += Rule::BOUNDED ? measure(l, along) : move(l, along, l > 0);
      if (l) for (int i = 0; i < size[l]; i++) here[i] *= slope[i];
    }
    if (Rule::BOUNDED) {
      total = rule.sum(total);
      const V bound = one > total ? one : total;  // NaN stays
      o.sums[3] += __builtin_convertvector(total > one ? one : V{}, D);
      total /= bound;
      o.scale /= bound;
      float least = 1;
      for (int r = 0; r < W; r++) least = std::min(least, o.scale[r]);
      for (int l = 0; l < layers; l++) move(l, along * o.scale, false);
      if (least < 1e-12f) settle(chain, o);
    }
    if (OWN) o.sums[2] += __builtin_convertvector(total, D);
    if (CBP) {
      const V rest = one - o.eta;
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
  settle(chain, o);
  for (int l = 0; l + 1 < layers; l++) std::copy_n(row(H, l + 1), size[l + 1], o.features[l]);
}

extern "C" int neoteny_width() { return W; }

// All pointers to blocks are to the first of `blocks`, which follow each other; those of weights and biases are ordered
// by kind, first themselves, then each kind of state, then by layer. `hyper` is [4, blocks, W]: step size, weight decay
// or meta step size, eta and maturity; `newborn` [STATE, blocks, W]. x is [runs, steps, in]; `latest` and `truth` are examples that are only
// judged, null without them; sums [blocks, 4, W]; events
// are ordered by block, then step.
extern "C" void neoteny_lanes(float** w, float** b, const int* size, int layers, int activation, int mse, long blocks,
                              long runs, long steps, const float* x, const void* y, const float* latest,
                              const void* truth, const float* hyper,
                              const float* fixed, const float* newborn, float** share, float** mean, float** utility,
                              int32_t** age, int32_t** replaced, int centred, int divided, float** features,
                              double* sums, const Event* events, const int64_t* events_until) {
  const Chain chain{size, layers, (Activation)activation, mse != 0, latest != nullptr, centred != 0, divided != 0, Rule(fixed)};
  constexpr int KINDS = 1 + Rule::STATE;
  const long target = mse ? 4L * size[layers] : 8L;
  std::vector<V*> pw(KINDS * layers), pb(KINDS * layers), ps(layers), pm(layers), pu(layers), pf(layers);
  std::vector<I*> pa(layers), pr(layers);
  const V *settings = (const V*)hyper, *fresh = (const V*)newborn;
  for (long n = 0; n < blocks; n++) {
    Block o{};
    for (int k = 0; k < KINDS; k++) {
      for (int l = 0; l < layers; l++) {
        pw[k * layers + l] = (V*)w[k * layers + l] + n * size[l] * size[l + 1];
        pb[k * layers + l] = (V*)b[k * layers + l] + n * size[l + 1];
      }
      o.w[k] = pw.data() + k * layers;
      o.b[k] = pb.data() + k * layers;
      if (k) o.newborn[k - 1] = fresh[(k - 1) * blocks + n];
    }
    for (int l = 0; l + 1 < layers; l++) {
      pf[l] = (V*)features[l] + n * size[l + 1];
      if (!share) continue;
      ps[l] = (V*)share[l] + n * size[l + 1];
      if (mean) pm[l] = (V*)mean[l] + n * size[l + 1];
      pu[l] = (V*)utility[l] + n * size[l + 1];
      pa[l] = (I*)age[l] + n * size[l + 1];
      pr[l] = (I*)replaced[l] + n;
    }
    o.share = ps.data();
    o.mean = mean ? pm.data() : nullptr;
    o.utility = pu.data();
    o.age = pa.data();
    o.replaced = pr.data();
    o.features = pf.data();
    o.step = settings[n];
    o.meta = OWN ? settings[blocks + n] : 1 - o.step * settings[blocks + n];
    o.eta = settings[2 * blocks + n];
    o.maturity = settings[3 * blocks + n];
    o.scale = all(1.f);
    o.sums = (D*)sums + 4 * n;
    o.event = events + (n ? events_until[n - 1] : 0);
    o.last = events + events_until[n];
    for (int r = 0; r < W; r++) {
      const long run = std::min(n * W + r, runs - 1);  // lanes beyond the last run repeat it
      o.x[r] = x + run * steps * size[0];
      o.y[r] = (const char*)y + run * steps * target;
      if (!latest) continue;
      o.latest[r] = latest + run * steps * size[0];
      o.truth[r] = (const char*)truth + run * steps * target;
    }
    (share ? train<true> : train<false>)(chain, o, steps);
  }
}
