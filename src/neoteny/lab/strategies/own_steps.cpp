// K steps of a rule with a step size for each weight, one example each, on a chain of linear layers and activations.
//
// A layer's memory is [inputs + 1, 1 + STATE, width]: for each input the weights to all units, then each kind of state.
// The last input is constant 1, and its weights are the biases; width is the number of units, rounded up. Rows whose
// input is 0 and through which no error flows back are not visited: with images of MNIST four fifths of the first
// layer, with ReLU half of every other. Where inputs are centred, weights learn from them less their centre, so the rows
// that the products and the updates of the first layer visit differ. The compiler is given the rule, RULE, of `rules.h`;
// who judges units, JUDGED; and CENTRED, 0 or 1.
#include "chain.h"
#include "rules.h"
#include <vector>

typedef RULE Rule;
typedef std::vector<float> Vector;
constexpr bool CBP = JUDGED == CONTRIBUTION, FRINGE = JUDGED == BACKBONE;

struct Layer {
  float* memory;
  int in, out, width;
  float* row(int j) const { return memory + (long)j * (1 + Rule::STATE) * width; }
};

// What methods keep of the hidden layers' units and of the centre of the inputs, and their settings.
struct Methods {
  void** kept;  // by kind, then by hidden layer; null pointers for what is not kept
  float** centre;
  float eta, maturity, threshold, protection, rate;
  bool centred, divided;
  int hidden;
  float* units(Kept what, int l) const { return (float*)kept[what * hidden + l]; }
  int32_t* counts(Kept what, int l) const { return (int32_t*)kept[what * hidden + l]; }
};

// One row of a layer: its input x, and for each of the n units its push P and curvature C.
struct Row {
  float* w;
  float* state[Rule::STATE];
  float x;
  const float *P, *C;
  int n;

  Row(const Layer& layer, int j, float x, const Vector& P, const Vector& C)
      : w(layer.row(j)), x(x), P(P.data()), C(C.data()), n(layer.width) {
    for (int k = 0; k < Rule::STATE; k++) state[k] = w + (long)(k + 1) * n;
  }

  float dot(const Vector& d) const {
    float total = 0;
    const float *a = w, *b = d.data();
    #pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) total += a[i] * b[i];
    return total;
  }

  float measure(const Rule& rule, float meta) const {
    float total = 0;
    #pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) total += rule.measure(meta, x, P[i], C[i], state, i);
    return total;
  }

  // Returns the weights' part of the sum. Also gives the sum of the new |w|, or w^2, and adds what each |w| has grown
  // by, and what each weight's change takes away at the centre c of the input.
  template <bool SHIFTED> float move(const Rule& rule, float meta, float* size, float* grown, float c, float* shift) const {
    float total = 0, sum = 0;
    #pragma omp simd reduction(+ : total, sum)
    for (int i = 0; i < n; i++) {
      const float before = w[i];
      total += rule.move(meta, x, P[i], C[i], w[i], state, i);
      const float after = std::fabs(w[i]);
      if (CBP) grown[i] += after - std::fabs(before);
      sum += FRINGE ? after * after : after;
      if (SHIFTED) shift[i] += (w[i] - before) * c;
    }
    *size = sum;
    return total;
  }
};

struct Network {
  std::vector<Layer> layer;
  Activation f;
  Rule rule;
  float meta;
  const float* newborn;  // what the rule's state holds for a new weight
  const Methods& methods;

  float scale = 1;
  // of the units of each layer, from the inputs on: activations, slopes, errors; pushes and curvatures; sums of |w| out
  // (or w^2) of a unit, and into it, in double precision since they are kept up to date from step to step; what
  // protection leaves of a unit's gradients
  std::vector<Vector> h, slope, delta, P, C, sent, left;
  std::vector<std::vector<double>> fed;
  std::vector<std::vector<int>> rows;  // the inputs of each layer whose rows are visited
  Vector measured, grown, shift, centre, apart;  // of the inputs: their centre, and what they are beside it

  int layers() const { return layer.size(); }
  int size(int l) const { return l ? layer[l - 1].out : layer[0].in; }

  void begin() {
    int widest = 0;
    for (int l = 0; l <= layers(); l++) {
      const int width = l ? layer[l - 1].width : layer[0].in;
      widest = std::max(widest, width);
      for (auto* kind : {&h, &slope, &delta, &P, &C, &sent}) kind->emplace_back(width, 0.f);
      left.emplace_back(width, 1.f);
      fed.emplace_back(width, 0.0);
      rows.emplace_back();
    }
    measured.assign(widest, 0.f);
    grown.assign(widest, 0.f);
    shift.assign(widest, 0.f);
    centre.assign(size(0), 0.f);
    apart.assign(size(0), 0.f);
    if (CBP || FRINGE) for (int l = 1; l < layers(); l++) add_up(l);
    if (FRINGE) for (int l = 1; l < layers(); l++) protect(l);
  }

  // The sums of |w| or w^2 of the units of hidden layer l.
  void add_up(int l) {
    const Layer &into = layer[l - 1], &out = layer[l];
    std::fill(fed[l].begin(), fed[l].end(), 0.0);
    for (int j = 0; CBP && j < into.in; j++) for (int i = 0; i < into.out; i++) fed[l][i] += std::fabs(into.row(j)[i]);
    for (int j = 0; j < out.in; j++) {
      sent[l][j] = 0;
      for (int i = 0; i < out.out; i++) sent[l][j] += FRINGE ? out.row(j)[i] * out.row(j)[i] : std::fabs(out.row(j)[i]);
    }
  }

  // z = b + sum_j x_j w_j over the rows that are visited, four at a time.
  static void product(const Layer& layer, const std::vector<int>& rows, const float* x, float* __restrict__ z) {
    std::copy_n(layer.row(layer.in), layer.width, z);
    size_t k = 0;
    for (; k + 4 <= rows.size(); k += 4) {
      const int* j = &rows[k];
      const float *a = layer.row(j[0]), *b = layer.row(j[1]), *c = layer.row(j[2]), *d = layer.row(j[3]);
      const float p = x[j[0]], q = x[j[1]], r = x[j[2]], s = x[j[3]];
      each(layer.width, [=](int i) { z[i] += p * a[i] + q * b[i] + (r * c[i] + s * d[i]); });
    }
    for (; k < rows.size(); k++) {
      const float *w = layer.row(rows[k]), p = x[rows[k]];
      each(layer.width, [=](int i) { z[i] += p * w[i]; });
    }
  }

  void forward(const float* input) {
    std::copy_n(input, size(0), h[0].data());
    for (int l = 0; l < layers(); l++) {
      const float *x = h[l].data(), *s = slope[l].data();
      if (l) activate(f, h[l].data(), slope[l].data(), size(l));
      rows[l].clear();
      for (int j = 0; j < size(l); j++) if (x[j] != 0 || s[j] != 0) rows[l].push_back(j);
      product(layer[l], rows[l], x, h[l + 1].data());
    }
  }

  // The inputs that the weights of layer l learn from.
  const Vector& learned_from(int l) const { return CENTRED && !l ? apart : h[l]; }

  // The centre follows the inputs, as gradients of the biases of squared length `size` come in (`methods.Centring`).
  void follow(float size) {
    const int n = this->size(0);
    float sum = size, *product = methods.centre[0], &square = *methods.centre[1];
    const float *x = h[0].data(), rate = methods.rate;
    for (int j = 0; j < n; j++) sum += size * x[j];
    if (sum - sum == 0) {
      square += rate * (size - square);
      each(n, [=](int j) { product[j] += rate * (size * x[j] - product[j]); });
    }
    const float over = square > 1e-30f ? 1 / square : 0;
    float *c = centre.data(), *a = apart.data();
    each(n, [=](int j) { c[j] = over ? product[j] * over : 0; a[j] = x[j] - c[j]; });
    rows[0].clear();
    for (int j = 0; j < n; j++) if (a[j] != 0) rows[0].push_back(j);
  }

  // Errors d flow back from the outputs, where they are in `delta`: a unit has push along * d and curvature d^2.
  // Returns the sum that a bounded rule measures.
  float backward(float along) {
    float total = 0;
    for (int l = layers() - 1; l >= 0; l--) {
      const Layer& own = layer[l];
      const float *d = delta[l + 1].data(), factor = scale;
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *m = measured.data();
      const float* part = left[l + 1].data();
      each(own.width, [=](int i) {
        const float own = FRINGE ? d[i] * part[i] : d[i];
        p[i] = along * own;
        c[i] = own * own;
        m[i] = rule.measured(c[i], factor);
      });
      if (CENTRED && !l) {
        float sum = 0;
        for (int i = 0; i < own.out; i++) sum += d[i] * d[i];
        follow(along * along * sum);
      }
      if (l) std::fill(delta[l].begin(), delta[l].end(), 0.f);
      for (int j : rows[l]) {
        const Row row(own, j, learned_from(l)[j], P[l + 1], measured);
        if (l) delta[l][j] = slope[l][j] * row.dot(delta[l + 1]);
        if (Rule::BOUNDED) total += row.measure(rule, meta);
      }
      if (Rule::BOUNDED) total += Row(own, own.in, 1, P[l + 1], measured).measure(rule, meta);
    }
    return total;
  }

  // All weights move. Returns the sum of alpha q that a rule without bound reports.
  float move() {
    float total = 0;
    for (int l = 0; l < layers(); l++) {
      const Layer& own = layer[l];
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *g = grown.data(), *s = shift.data(), factor = scale, unused;
      each(own.width, [=](int i) { p[i] *= factor; c[i] *= factor; g[i] = s[i] = 0; });
      for (int j : rows[l]) {
        const Row row(own, j, learned_from(l)[j], P[l + 1], C[l + 1]);
        total += CENTRED && !l ? row.move<true>(rule, meta, &sent[l][j], g, centre[j], s)
                               : row.move<false>(rule, meta, &sent[l][j], g, 0, s);
      }
      if (CBP) for (int i = 0; i < own.out; i++) fed[l + 1][i] += g[i];
      total += Row(own, own.in, 1, P[l + 1], C[l + 1]).move<false>(rule, meta, &unused, g, 0, s);
      float* bias = own.row(own.in);
      if (CENTRED && !l) each(own.width, [=](int i) { bias[i] -= s[i]; });
    }
    return total;
  }

  // One example; sums get the loss, the hit, the sum of alpha q after the bound, and whether there was one.
  void step(bool mse, const float* x, const void* ys, long k, double* sums) {
    forward(x);
    const int n = size(layers());
    float *e = delta[layers()].data(), along = -1;
    judge_outputs(mse, h[layers()].data(), ys, k, n, e, sums);
    if (mse && n == 1) {  // a prediction: p = delta dy/dw, q = (dy/dw)^2
      along = -.5f * e[0];
      e[0] = 1;
    } else if (mse) {  // half the squared error, summed over the outputs
      for (int i = 0; i < n; i++) e[i] *= .5f * n;
    }
    float total = rule.sum(backward(along));
    if (Rule::BOUNDED) {
      const float bound = 1 > total ? 1 : total;  // NaN stays
      sums[3] += total > 1;
      total /= bound;
      scale /= bound;
      move();
      if (scale < 1e-12f) settle();
    } else {
      total = move();
    }
    sums[2] += total;
  }

  // Puts the common factor into the step sizes.
  void settle() {
    const float factor = scale;
    if (factor == 1) return;
    for (const Layer& own : layer)
      for (int j = 0; j <= own.in; j++) {
        float* a = own.row(j) + own.width;
        each(own.width, [=](int i) { a[i] *= factor; });
      }
    scale = 1;
  }

  // Continual backpropagation's averages of the units of hidden layer l.
  void contributions(int l) {
    const float eta = methods.eta;
    float *shares = methods.units(SHARE, l - 1), *means = methods.units(MEAN, l - 1);
    float* utility = methods.units(UTILITY, l - 1);
    int32_t* age = methods.counts(AGE, l - 1);
    for (int j = 0; j < size(l); j++) {
      const float share = eta * shares[j] + (1 - eta);
      float u = h[l][j], mean = 0;
      if (methods.centred) {
        mean = eta * means[j] + (1 - eta) * u;
        u -= mean / share;
      }
      u = std::fabs(u) * sent[l][j];
      if (methods.divided) u /= std::max((float)fed[l][j], 1e-30f);
      age[j]++;
      if (!(u - u == 0)) continue;  // the averages must not keep what is not finite
      shares[j] = share;
      if (methods.centred) means[j] = mean;
      utility[j] = eta * utility[j] + (1 - eta) * u;
    }
  }

  // Utilities, promotions and demotions of the units of hidden layer l, as in `methods.Fringe`.
  void promote(int l) {
    const float eta = methods.eta;
    float *share = methods.units(SHARE, l - 1), *utility = methods.units(UTILITY, l - 1), *judged = left[l].data();
    int32_t *age = methods.counts(AGE, l - 1), *kept = methods.counts(IN_BACKBONE, l - 1);
    float mean = 0;
    for (int j = 0; j < size(l); j++) {
      const float u = h[l][j] * h[l][j] * sent[l][j];
      age[j]++;
      if (u - u == 0) {
        share[j] = eta * share[j] + (1 - eta);
        utility[j] = eta * utility[j] + (1 - eta) * u;
      }
      mean += judged[j] = utility[j] / std::max(share[j], 1e-30f);
    }
    const float least = methods.threshold * (mean / size(l));
    for (int j = 0; j < size(l); j++) {
      const bool useful = age[j] > methods.maturity && judged[j] >= least;
      *methods.counts(PROMOTED, l - 1) += useful && !kept[j];
      *methods.counts(DEMOTED, l - 1) += kept[j] && !useful;
      kept[j] = useful;
    }
  }

  // What is left of the gradients of what feeds the units of hidden layer l.
  void protect(int l) {
    const float *share = methods.units(SHARE, l - 1), *utility = methods.units(UTILITY, l - 1);
    const int32_t* kept = methods.counts(IN_BACKBONE, l - 1);
    float most = 1e-30f;
    for (int j = 0; j < size(l); j++) {
      left[l][j] = kept[j] ? utility[j] / std::max(share[j], 1e-30f) : 0;
      most = std::max(most, left[l][j]);
    }
    for (int j = 0; j < size(l); j++) left[l][j] = 1 - methods.protection * left[l][j] / most;
  }

  // A new weight in row j to unit i.
  void renew(const Layer& own, int j, int i, float weight) {
    float* at = own.row(j) + i;
    at[0] = weight;
    for (int k = 0; k < Rule::STATE; k++) at[(k + 1) * own.width] = newborn[k] / (k ? 1 : scale);
  }

  void replace(const Event& event) {
    const int l = event.layer;
    for (int c = 0; c < event.count; c++) {
      int32_t* age = methods.counts(AGE, l);
      float *utility = methods.units(UTILITY, l), *share = methods.units(SHARE, l);
      const int unit = least_useful(age, utility, share, methods.counts(IN_BACKBONE, l), size(l + 1), 1, methods.maturity);
      if (unit < 0) return;
      const Layer &into = layer[l], &out = layer[l + 1];
      for (int j = 0; j < into.in; j++) renew(into, j, unit, event.fresh[(long)unit * event.stride + j]);
      renew(into, into.in, unit, 0);
      for (int i = 0; i < out.out; i++) renew(out, unit, i, 0);
      age[unit] = 0;
      utility[unit] = share[unit] = 0;
      if (methods.units(MEAN, l)) methods.units(MEAN, l)[unit] = 0;
      ++*methods.counts(REPLACED, l);
      for (int near = std::max(l, 1); near <= std::min(l + 2, layers() - 1); near++) add_up(near);
    }
  }
};

// `newborn` has the rule's STATE numbers, `fixed` its settings that do not differ between runs. `kept` is ordered by kind
// (`chain.h`), then by hidden layer; `centre` is what the centre of the inputs follows from; null pointers for what is
// not kept. `settings` are eta, maturity, threshold, protection and the rate of centring.
extern "C" void neoteny_own_steps(float** memory, const int* size, const int* width, int layers, int activation, int mse,
                                  const float* xs, const void* ys, long steps, float meta, const float* fixed,
                                  const float* newborn, void** kept, float** centre, const float* settings, int centred,
                                  int divided, const Event* events, const Event* last, float** features, double* sums) {
  const Methods methods{kept,        centre,       settings[0], settings[1],  settings[2],
                        settings[3], settings[4], centred != 0, divided != 0, layers - 1};
  Network network{{}, (Activation)activation, Rule(fixed), meta, newborn, methods};
  for (int l = 0; l < layers; l++) network.layer.push_back({memory[l], size[l], size[l + 1], width[l]});
  network.begin();
  for (long k = 0; k < steps; k++) {
    network.step(mse != 0, xs + k * size[0], ys, k, sums);
    for (int l = 1; l < layers; l++) {
      if (CBP) network.contributions(l);
      if (FRINGE) network.promote(l);
    }
    for (; events < last && events->step == k; events++) network.replace(*events);
    if (FRINGE) for (int l = 1; l < layers; l++) network.protect(l);
  }
  network.settle();
  for (int l = 1; l < layers; l++) std::copy_n(network.h[l].begin(), size[l], features[l - 1]);
}
