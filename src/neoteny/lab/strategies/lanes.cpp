// K steps of a rule, one example each, on many small chains of linear layers side by side.
//
// Lane r of every vector belongs to run r, so each operation does the same for W runs at once, and no sum runs over a
// vector. The weights of one block of W runs stay in the nearest cache for all steps. Methods that judge units are part
// of the step: their averages, and their replacements, for which the caller gives the new weights. So is centring. The
// compiler is given the rule, RULE, of `rules.h`; who judges units, JUDGED; and CENTRED, 0 or 1.
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

typedef RULE Rule;
constexpr bool OWN = Rule::STATE > 0;  // a step size for each weight
constexpr bool CBP = JUDGED == CONTRIBUTION, FRINGE = JUDGED == BACKBONE;

// What belongs to one block of runs; the arrays of weights and of their states are [out, in, W], those of biases and
// units [units, W].
struct Block {
  V **w[1 + Rule::STATE], **b[1 + Rule::STATE];
  void** kept;  // of the units, by kind, then by hidden layer; null pointers for what the method does not keep
  V *product, *square;  // what the centre of the inputs follows from
  V step, meta, eta, maturity, threshold, protection, rate, scale;
  V newborn[1 + Rule::STATE];
  V *centre;  // of the inputs, where they are centred
  V** features;
  D* sums;
  const float *x[W], *latest[W];  // `latest`: examples that are predicted before the step, where labels come later
  const void *y[W], *truth[W];
  const Event *event, *last;
  int hidden;
  V* units(Kept what, int l) const { return (V*)kept[what * hidden + l]; }
  I* counts(Kept what, int l) const { return (I*)kept[what * hidden + l]; }
};

// What a unit's weights learn from: push and curvature as a rule measures with them, and as it moves with them.
struct Error { V P, M, moving, C; };

// A weight, or a bias, of all lanes: its place in arrays of weights and states.
struct Place {
  float *w, *state[1 + Rule::STATE];
  Place(V** const* arrays, int l, long i) : w((float*)(arrays[0][l] + i)) {
    for (int k = 0; k < Rule::STATE; k++) state[k] = (float*)(arrays[k + 1][l] + i);
  }
  // Returns the weight's part of the sum that the rule reports.
  template <bool MEASURING, bool MOVING>
  inline __attribute__((always_inline)) V change(const Rule& rule, const V& meta, const V& x, const Error& e) const {
    V share;
    const float *m = (const float*)&meta, *xs = (const float*)&x, *p = (const float*)&e.P, *c = (const float*)&e.M;
    const float *moving = (const float*)&e.moving, *curved = (const float*)&e.C;
    float* to = (float*)&share;
    #pragma omp simd
    for (int r = 0; r < W; r++)
      to[r] = !MOVING      ? rule.measure(m[r], xs[r], p[r], c[r], state, r)
              : !MEASURING ? rule.move(m[r], xs[r], moving[r], curved[r], w[r], state, r)
                           : rule.both(m[r], xs[r], p[r], c[r], moving[r], curved[r], w[r], state, r);
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
  I *age = o.counts(AGE, l), *kept = o.counts(IN_BACKBONE, l);
  V *utility = o.units(UTILITY, l), *share = o.units(SHARE, l), *mean = o.units(MEAN, l);
  auto renew = [&](V** const* arrays, int layer, int i, float weight) {
    arrays[0][layer][i][r] = weight;
    for (int k = 0; k < Rule::STATE; k++) arrays[k + 1][layer][i][r] = o.newborn[k][r] / (k ? 1 : o.scale[r]);
  };
  for (int c = 0; c < event.count; c++) {
    const int unit = least_useful((int32_t*)age + r, (float*)utility + r, (float*)share + r,
                                  kept ? (int32_t*)kept + r : nullptr, n, W, o.maturity[r]);
    if (unit < 0) return;
    for (int i = 0; i < in; i++) renew(o.w, l, unit * in + i, event.fresh[unit * event.stride + i]);
    renew(o.b, l, unit, 0);
    if (CENTRED && !l) for (int i = 0; i < in; i++) o.b[0][0][unit][r] += o.w[0][0][unit * in + i][r] * o.centre[i][r];
    for (int i = 0; i < out; i++) renew(o.w, l + 1, i * n + unit, 0);
    if (FRINGE) o.units(DISTURBANCE, l)[0][r] += utility[unit][r] / std::max(share[unit][r], 1e-30f);
    age[unit][r] = 0;
    share[unit][r] = utility[unit][r] = 0;
    if (mean) mean[unit][r] = 0;
    o.counts(REPLACED, l)[0][r] += 1;
  }
}

// Continual backpropagation's averages of the n units of hidden layer l, with activations h, from the sums of |w| out of
// each unit and into it.
[[maybe_unused]] static void contributions(const Chain& chain, const Block& o, int l, int n, const V* h, const V* sent,
                                           const V* fed) {
  const V rest = 1 - o.eta;
  I* age = o.counts(AGE, l);
  V *shares = o.units(SHARE, l), *means = o.units(MEAN, l), *utility = o.units(UTILITY, l);
  for (int j = 0; j < n; j++) {
    const V share = o.eta * shares[j] + rest;
    V u = h[j], mean{};
    I seen = finite(u);
    if (means) {
      mean = o.eta * means[j] + rest * h[j];
      if (chain.centred) u -= mean / share;
    }
    u = magnitude(u) * sent[j];
    if (chain.divided) u /= largest(fed[j], all(1e-30f));
    seen &= finite(u);
    age[j] += 1;
    shares[j] = seen ? share : shares[j];
    if (means) means[j] = seen ? mean : means[j];
    utility[j] = seen ? o.eta * utility[j] + rest * u : utility[j];
  }
}

// Which of the gradients of what feeds the n units of hidden layer l is left, `methods.Fringe`: in place of their utilities.
static void protect(const Block& o, int l, int n, V* judged) {
  const I* kept = o.counts(IN_BACKBONE, l);
  V most = all(1e-30f);
  for (int j = 0; j < n; j++) {
    judged[j] = kept[j] != 0 ? judged[j] : V{};
    most = largest(judged[j], most);
  }
  const V less = o.protection / most;
  for (int j = 0; j < n; j++) judged[j] = 1 - less * judged[j];
}

// The utilities of the n units of hidden layer l.
static void judge(const Block& o, int l, int n, V* judged) {
  const V *share = o.units(SHARE, l), *utility = o.units(UTILITY, l);
  for (int j = 0; j < n; j++) judged[j] = utility[j] / largest(share[j], all(1e-30f));
}

// Utilities, promotions and demotions of the n units of hidden layer l, from the sums of w^2 out of each; then what is left.
static void promote(const Block& o, int l, int n, const V* h, const V* sent, V* judged) {
  const V rest = 1 - o.eta;
  I *age = o.counts(AGE, l), *kept = o.counts(IN_BACKBONE, l), up{}, down{};
  V *share = o.units(SHARE, l), *utility = o.units(UTILITY, l), mean{};
  for (int j = 0; j < n; j++) {
    const V u = h[j] * h[j] * sent[j];
    const I seen = finite(u);
    share[j] = seen ? o.eta * share[j] + rest : share[j];
    utility[j] = seen ? o.eta * utility[j] + rest * u : utility[j];
  }
  judge(o, l, n, judged);
  for (int j = 0; j < n; j++) mean += judged[j];
  const V least = o.threshold * (mean / (float)n);
  for (int j = 0; j < n; j++) {  // comparisons give 0 or -1
    age[j] += 1;
    const I useful = (__builtin_convertvector(age[j], V) > o.maturity) & (judged[j] >= least), was = kept[j] != 0;
    up -= useful & ~was;
    down -= was & ~useful;
    kept[j] = -useful;
  }
  o.counts(PROMOTED, l)[0] += up;
  o.counts(DEMOTED, l)[0] += down;
  protect(o, l, n, judged);
}

// The centre of the inputs as far as it is known; the biases, in place of b, become those of z = W (x - c) + b'.
static void centre(const Chain& chain, const Block& o) {
  const int in = chain.size[0];
  const I known = o.square[0] > all(1e-30f);
  const V over = 1 / (known ? o.square[0] : all(1.f));
  std::vector<V> moved(in);
  for (int i = 0; i < in; i++) {
    const V c = known ? o.product[i] * over : V{};
    moved[i] = c - o.centre[i];
    o.centre[i] = c;
  }
  for (int j = 0; j < chain.size[1]; j++)
    for (int i = 0; i < in; i++) o.b[0][0][j] += o.w[0][0][(long)j * in + i] * moved[i];
}

// The same once a gradient of the biases, of squared length `size`, has come in with inputs `apart` from the centre, whose
// outputs are z: then the centre goes the share r of the way to the inputs, and b' goes that share of the way to z.
static void follow(const Chain& chain, Block& o, V size, const V* x, V* apart, const V* z) {
  const int in = chain.size[0];
  const V before = o.square[0];
  V sum = size;
  for (int i = 0; i < in; i++) sum += size * x[i];
  const I seen = finite(sum);
  const V news = seen ? o.rate * size : V{}, kept = seen ? 1 - o.rate : all(1.f);
  o.square[0] = kept * before + news;
  for (int i = 0; i < in; i++) o.product[i] = kept * o.product[i] + (seen ? news * x[i] : V{});
  const I usual = ((before == 0) | (before > 1e-30f)) & (o.square[0] > 1e-30f);
  int32_t lanes = -1;
  for (int r = 0; r < W; r++) lanes &= usual[r];
  if (!lanes) {
    centre(chain, o);
    for (int i = 0; i < in; i++) apart[i] = x[i] - o.centre[i];
    return;
  }
  const V share = news / o.square[0], rest = 1 - share;
  for (int i = 0; i < in; i++) {
    o.centre[i] += share * apart[i];
    apart[i] *= rest;
  }
  for (int j = 0; j < chain.size[1]; j++) o.b[0][0][j] += share * (z[j] - o.b[0][0][j]);
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

static void train(const Chain& chain, Block& o, long steps) {
  const int layers = chain.layers, *size = chain.size;
  const Rule& rule = chain.rule;
  const V one = all(1.f), growth = each(o.meta, exponential);
  int widest = 0;
  for (int l = 0; l <= layers; l++) widest = std::max(widest, size[l]);
  std::vector<V> memory((size_t)(8 * layers + 8) * widest);
  auto row = [&](int what, int l) { return memory.data() + (size_t)(what * (layers + 1) + l) * widest; };
  // activations, slopes, errors; sums of |w| or w^2 out of a unit, and into it; what protection leaves of a unit's
  // gradients; of layer 0 the inputs less their centre, and the centre, and of the units above what they sum up
  enum { H, SLOPE, DELTA, SENT, FED, LEFT, APART, CENTRE };
  auto learned_from = [&](int l) { return row(CENTRED && !l ? APART : H, l); };
  auto error_of = [&](int l, int j) {
    const V error = row(DELTA, l + 1)[j];
    return FRINGE && l + 1 < layers ? error * row(LEFT, l + 1)[j] : error;
  };
  if (FRINGE)
    for (int l = 0; l + 1 < layers; l++) {
      judge(o, l, size[l + 1], row(LEFT, l + 1));
      protect(o, l, size[l + 1], row(LEFT, l + 1));
    }
  o.centre = row(CENTRE, 0);
  if (CENTRED) centre(chain, o);

  auto predict = [&](const float* const* inputs, long k) {
    V* x = row(H, 0);
    for (int i = 0; i < size[0]; i++)
      for (int r = 0; r < W; r++) x[i][r] = inputs[r][k * size[0] + i];
    for (int i = 0; CENTRED && i < size[0]; i++) row(APART, 0)[i] = x[i] - o.centre[i];
    for (int l = 0; l < layers; l++) {
      const V *h = learned_from(l), *w = o.w[0][l];
      V* z = row(H, l + 1);
      const int in = size[l], out = size[l + 1];
      for (int j = 0; j < out; j++, w += in) {
        V s = o.b[0][l][j], t{};
        int i = 0;
        for (; i + 2 <= in; i += 2) { s += w[i] * h[i]; t += w[i + 1] * h[i + 1]; }
        if (i < in) s += w[i] * h[i];
        z[j] = s + t;
      }
      if (CENTRED && !l) std::copy_n(z, out, row(CENTRE, 1));
      if (l + 1 < layers) activate(chain.f, (float*)z, (float*)row(SLOPE, l + 1), out * W);
    }
  };
  // the errors of all units, from those of the outputs
  auto backward = [&] {
    for (int l = layers - 1; l > 0; l--) {
      const V *slope = row(SLOPE, l), *above = row(DELTA, l + 1), *w = o.w[0][l];
      V* here = row(DELTA, l);
      const int in = size[l], out = size[l + 1];
      std::fill(here, here + in, V{});
      for (int j = 0; j < out; j++, w += in)
        for (int i = 0; i < in; i++) here[i] += above[j] * w[i];
      for (int i = 0; i < in; i++) here[i] *= slope[i];
    }
  };
  // Whether no lane can reach the bound in this step. A step size grows by at most exp(meta), so the sum is known well
  // enough before anything has changed.
  auto unbounded = [&] {
    V sum{};
    for (int l = 0; l < layers; l++) {
      const V *a = o.w[1][l], *h = learned_from(l);
      const int in = size[l], out = size[l + 1];
      V squares[in];
      for (int i = 0; i < in; i++) squares[i] = h[i] * h[i];
      for (int j = 0; j < out; j++, a += in) {
        V s = o.b[1][l][j], t{};
        int i = 0;
        for (; i + 2 <= in; i += 2) { s += a[i] * squares[i]; t += a[i + 1] * squares[i + 1]; }
        if (i < in) s += a[i] * squares[i];
        const V error = error_of(l, j);
        sum += error * error * (s + t);
      }
    }
    const I safe = sum * o.scale * growth < .999f;
    int32_t lanes = -1;
    for (int r = 0; r < W; r++) lanes &= safe[r];
    return lanes != 0;
  };
  // the weights of layer l and their states change, by pushes of `along` times the errors: what a bounded rule measures
  // before it knows the bound, what comes after, or both
  auto change = [&](int l, V along, auto measuring, auto moving) {
    constexpr bool MEASURING = measuring, MOVING = moving;
    const V* x = learned_from(l);
    V *sent = row(SENT, l), *fed = row(FED, l + 1), total{};
    const int in = size[l], out = size[l + 1];
    if (MOVING && (CBP || FRINGE) && l) std::fill(sent, sent + in, V{});
    for (int j = 0; j < out; j++) {
      const V error = error_of(l, j), P = along * error, square = error * error;
      const Error e{P, rule.measured(square, o.scale), P * o.scale, square * o.scale};
      V *w = o.w[0][l] + (long)j * in, sum{};
      for (int i = 0; i < in; i++) {
        total += Place(o.w, l, (long)j * in + i).template change<MEASURING, MOVING>(rule, o.meta, x[i], e);
        if (!MOVING) continue;
        if (CBP) {
          const V size = magnitude(w[i]);
          sum += size;
          if (l) sent[i] += size;
        }
        if (FRINGE && l) sent[i] += w[i] * w[i];
      }
      total += Place(o.b, l, j).template change<MEASURING, MOVING>(rule, o.meta, one, e);
      if (MOVING) fed[j] = sum;
    }
    return total;
  };
  const std::true_type yes;
  const std::false_type no;
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
    backward();
    if (CENTRED) {  // gradients of the biases are these errors, times `along` where a rule has its own step sizes
      V sum{};
      for (int j = 0; j < size[1]; j++) sum += row(DELTA, 1)[j] * row(DELTA, 1)[j];
      follow(chain, o, OWN ? along * along * sum : sum, row(H, 0), row(APART, 0), row(CENTRE, 1));
    }
    if (!Rule::BOUNDED || unbounded()) {
      for (int l = 0; l < layers; l++) total += change(l, along, std::integral_constant<bool, Rule::BOUNDED>(), yes);
      total = rule.sum(total);
    } else {
      for (int l = 0; l < layers; l++) total += change(l, along, yes, no);
      total = rule.sum(total);
      const V bound = one > total ? one : total;  // NaN stays
      o.sums[3] += __builtin_convertvector(total > one ? one : V{}, D);
      total /= bound;
      o.scale /= bound;
      float least = 1;
      for (int r = 0; r < W; r++) least = std::min(least, o.scale[r]);
      for (int l = 0; l < layers; l++) change(l, along, no, yes);
      if (least < 1e-12f) settle(chain, o);
    }
    if (OWN) o.sums[2] += __builtin_convertvector(total, D);
    for (int l = 0; l + 1 < layers; l++) {
      const V *h = row(H, l + 1), *sent = row(SENT, l + 1);
      if (CBP) contributions(chain, o, l, size[l + 1], h, sent, row(FED, l + 1));
      if (FRINGE) promote(o, l, size[l + 1], h, sent, row(LEFT, l + 1));
    }
    if (CBP || FRINGE) for (; o.event < o.last && o.event->step == k; o.event++) replace(chain, o, *o.event);
  }
  settle(chain, o);
  if (CENTRED)
    for (int j = 0; j < size[1]; j++)
      for (int i = 0; i < size[0]; i++) o.b[0][0][j] -= o.w[0][0][(long)j * size[0] + i] * o.centre[i];
  for (int l = 0; l + 1 < layers; l++) std::copy_n(row(H, l + 1), size[l + 1], o.features[l]);
}

extern "C" int neoteny_width() { return W; }

// All pointers to blocks are to the first of `blocks`, which follow each other; those of weights and biases are ordered
// by kind, first themselves, then each kind of state, then by layer; those of `kept` by kind (`chain.h`), then by hidden
// layer. `centre` is what the centre of the inputs follows from, null pointers where these are not centred. `hyper` is
// [7, blocks, W]: step size, weight decay or meta step size, eta, maturity, threshold, protection, rate of centring;
// `newborn` [STATE, blocks, W]. x is [runs, steps, in]; `latest` and `truth` are examples that are only judged, null
// without them; sums [blocks, 4, W]; events are ordered by block, then step.
extern "C" void neoteny_lanes(float** w, float** b, const int* size, int layers, int activation, int mse, long blocks,
                              long runs, long steps, const float* x, const void* y, const float* latest,
                              const void* truth, const float* hyper, const float* fixed, const float* newborn,
                              void** kept, float** centre, int centred, int divided, float** features,
                              double* sums, const Event* events, const int64_t* events_until) {
  const Chain chain{size, layers, (Activation)activation, mse != 0, latest != nullptr, centred != 0, divided != 0, Rule(fixed)};
  constexpr int KINDS = 1 + Rule::STATE;
  const int hidden = layers - 1;
  const long target = mse ? 4L * size[layers] : 8L;
  std::vector<V*> pw(KINDS * layers), pb(KINDS * layers), pf(layers);
  std::vector<void*> pk(KEPT * layers);
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
    for (int l = 0; l < hidden; l++) {
      pf[l] = (V*)features[l] + n * size[l + 1];
      for (int k = 0; k < KEPT; k++) {  // of each unit, or one number of all
        void* first = kept[k * hidden + l];
        pk[k * hidden + l] = first ? (V*)first + n * (k < REPLACED ? size[l + 1] : 1) : nullptr;
      }
    }
    o.kept = pk.data();
    o.hidden = hidden;
    o.product = (V*)centre[0] + n * size[0];
    o.square = (V*)centre[1] + n;
    o.features = pf.data();
    o.step = settings[n];
    o.meta = OWN ? settings[blocks + n] : 1 - o.step * settings[blocks + n];
    o.eta = settings[2 * blocks + n];
    o.maturity = settings[3 * blocks + n];
    o.threshold = settings[4 * blocks + n];
    o.protection = settings[5 * blocks + n];
    o.rate = settings[6 * blocks + n];
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
    train(chain, o, steps);
  }
}
