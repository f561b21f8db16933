// K steps of a rule with a step size for each weight, or of SGD with mapped gradients, one example each, on a chain of linear layers and activations.
//
// A layer's memory is lines of [1 + STATE, width]: the weights of a line, then each kind of state. A line is an input, with
// its weights to all units; the last one is constant 1, and its weights are the biases. Inputs that are 0 and through
// which no error flows back are not visited: with images of MNIST four fifths of the first layer, with ReLU half of every
// other. Where inputs are centred, weights learn from them less their centre, which is seldom 0. So there a line of the
// first layer is a unit, with the weights from all inputs and its bias, and those without an error are not visited. The
// compiler is given the rule, RULE, of `rules.h`; who judges units, JUDGED; and CENTRED, 0 or 1.
#include "chain.h"
#include "rules.h"
#include <vector>

typedef RULE Rule;
typedef std::vector<float> Vector;
constexpr bool OWN = Rule::STATE > 0;  // a step size for each weight
constexpr bool CBP = JUDGED == CONTRIBUTION, FRINGE = JUDGED == BACKBONE;

struct Layer {
  float* memory;
  int in, out, width;
  bool by_unit;
  int lines() const { return by_unit ? out : in + 1; }
  float* line(int k) const { return memory + (long)k * (1 + Rule::STATE) * width; }
  float* at(int j, int i) const { return by_unit ? line(i) + j : line(j) + i; }  // from input j to unit i
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

// A number that all weights of a line have in common.
struct Same {
  float value;
  float operator[](int) const { return value; }
};

// A line of a layer: the input x of each weight, and its unit's push P and curvature C.
template <class Input, class Unit> struct Line {
  float *w, *state[1 + Rule::STATE];
  int n;
  Input x;
  Unit P, C;

  Line(const Layer& layer, int k, Input x, Unit P, Unit C) : w(layer.line(k)), n(layer.width), x(x), P(P), C(C) {
    for (int s = 0; s < Rule::STATE; s++) state[s] = w + (long)(s + 1) * n;
  }

  float dot(const float* d) const {
    float total = 0;
    const float* a = w;
    #pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) total += a[i] * d[i];
    return total;
  }

  float measure(const Rule& rule, float meta) const {
    float total = 0;
    #pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) total += rule.measure(meta, x[i], P[i], C[i], state, i);
    return total;
  }

  // Returns the weights' part of the sum; `noted` gets the sum of what `note` makes of each weight before and after.
  template <class Note> float move(const Rule& rule, float meta, float* noted, Note note) const {
    float total = 0, sum = 0;
    #pragma omp simd reduction(+ : total, sum)
    for (int i = 0; i < n; i++) {
      const float before = w[i];
      total += rule.move(meta, x[i], P[i], C[i], w[i], state, i);
      sum += note(i, before, w[i]);
    }
    *noted = sum;
    return total;
  }
};
typedef Line<Same, const float*> FromInput;
typedef Line<const float*, Same> ToUnit;

struct Network {
  std::vector<Layer> layer;
  Activation f;
  Rule rule;
  float meta, step_size;  // SGD's step size; what it keeps of weights is in the place of the meta step size
  const float* newborn;  // what the rule's state holds for a new weight
  const Methods& methods;

  float scale = 1;
  // of the units of each layer, from the inputs on: activations, slopes, errors; pushes and curvatures; sums of |w| out
  // (or w^2) of a unit, and into it, in double precision since they are kept up to date from step to step; what
  // protection leaves of a unit's gradients
  std::vector<Vector> h, slope, delta, P, C, sent, left;
  std::vector<std::vector<double>> fed;
  std::vector<std::vector<int>> visited;  // lines of each layer
  Vector measured, grown, centre, apart, summed;  // of the inputs: their centre, what they are beside it, and W x + b

  int layers() const { return layer.size(); }
  int size(int l) const { return l ? layer[l - 1].out : layer[0].in; }

  void begin() {
    int widest = 0;
    for (const Layer& own : layer) widest = std::max({widest, own.width, own.in + 1});
    for (int l = 0; l <= layers(); l++) {
      for (auto* kind : {&h, &slope, &delta, &P, &C, &sent}) kind->emplace_back(widest, 0.f);
      left.emplace_back(widest, 1.f);
      fed.emplace_back(widest, 0.0);
      visited.emplace_back();
    }
    for (auto* kind : {&measured, &grown, &centre, &apart, &summed}) kind->assign(widest, 0.f);
    apart[size(0)] = 1;  // the bias's
    if (CENTRED) find_centre();
    for (int l = 1; l < layers(); l++) {
      add_up_sent(l);
      for (int i = 0; i < size(l); i++) add_up_fed(l, i);
    }
    if (FRINGE) for (int l = 1; l < layers(); l++) {
      const float *share = methods.units(SHARE, l - 1), *utility = methods.units(UTILITY, l - 1);
      for (int j = 0; j < size(l); j++) left[l][j] = utility[j] / std::max(share[j], 1e-30f);
      protect(l);
    }
  }

  // The sums of |w| or w^2 out of the units of hidden layer l.
  void add_up_sent(int l) {
    const Layer& out = layer[l];
    for (int j = 0; j < out.in; j++) {
      float sum = 0, *w = out.line(j);
      for (int i = 0; i < out.out; i++) sum += FRINGE ? w[i] * w[i] : std::fabs(w[i]);
      sent[l][j] = sum;
    }
  }

  // The sum of |w| into unit i of layer l.
  void add_up_fed(int l, int i) {
    const Layer& into = layer[l - 1];
    fed[l][i] = 0;
    for (int j = 0; CBP && j < into.in; j++) fed[l][i] += std::fabs(*into.at(j, i));
  }

  // z = b + sum_j x_j w_j over the lines that are visited, four at a time.
  static void product(const Layer& layer, const std::vector<int>& lines, const float* x, float* __restrict__ z) {
    std::copy_n(layer.line(layer.in), layer.width, z);
    size_t k = 0;
    for (; k + 4 <= lines.size(); k += 4) {
      const int* j = &lines[k];
      const float *a = layer.line(j[0]), *b = layer.line(j[1]), *c = layer.line(j[2]), *d = layer.line(j[3]);
      const float p = x[j[0]], q = x[j[1]], r = x[j[2]], s = x[j[3]];
      each(layer.width, [=](int i) { z[i] += p * a[i] + q * b[i] + (r * c[i] + s * d[i]); });
    }
    for (; k < lines.size(); k++) {
      const float *w = layer.line(lines[k]), p = x[lines[k]];
      each(layer.width, [=](int i) { z[i] += p * w[i]; });
    }
  }

  // The same where a line is a unit, four units at a time.
  static void products(const Layer& layer, const float* __restrict__ x, float* z) {
    for (int i = 0; i < layer.out; i += 4) {
      const int last = layer.out - 1;
      const float *a = layer.line(i), *b = layer.line(std::min(i + 1, last));
      const float *c = layer.line(std::min(i + 2, last)), *d = layer.line(std::min(i + 3, last));
      float p = 0, q = 0, r = 0, s = 0;
      #pragma omp simd reduction(+ : p, q, r, s)
      for (int j = 0; j < layer.width; j++) { p += x[j] * a[j]; q += x[j] * b[j]; r += x[j] * c[j]; s += x[j] * d[j]; }
      const float found[] = {p, q, r, s};
      std::copy_n(found, std::min(4, layer.out - i), z + i);
    }
  }

  void forward(const float* input) {
    std::copy_n(input, size(0), h[0].data());
    for (int l = 0; l < layers(); l++) {
      const float *x = h[l].data(), *s = slope[l].data();
      if (l) activate(f, h[l].data(), slope[l].data(), size(l));
      if (layer[l].by_unit) {
        for (int j = 0; j < size(l); j++) apart[j] = x[j] - centre[j];
        products(layer[l], apart.data(), h[l + 1].data());
        summed = h[l + 1];
        continue;
      }
      visited[l].clear();
      for (int j = 0; j < size(l); j++) if (x[j] != 0 || s[j] != 0) visited[l].push_back(j);
      product(layer[l], visited[l], x, h[l + 1].data());
    }
  }

  // The centre goes to `to`; the biases, in place of b, become those of z = W (x - c) + b'.
  void shift(const float* to) {
    const Layer& own = layer[0];
    float* c = centre.data();
    for (int i = 0; i < own.out; i++) {
      float sum = 0, *w = own.line(i);
      #pragma omp simd reduction(+ : sum)
      for (int j = 0; j < own.in; j++) sum += w[j] * (to[j] - c[j]);
      w[own.in] += sum;
    }
    std::copy_n(to, own.in, c);
  }

  // The same, to where the centre is as far as it is known.
  void find_centre() {
    const float *product = methods.centre[0], square = *methods.centre[1];
    Vector to(size(0), 0.f);
    for (int j = 0; j < size(0) && square > 1e-30f; j++) to[j] = product[j] / square;
    shift(to.data());
  }

  // Gradients of the biases, of squared length `size`, come in (`methods.Centring`): the centre goes a share of the way to
  // the inputs, and b' that share of the way to the outputs z.
  void follow(float size) {
    const int n = this->size(0);
    float sum = size, *product = methods.centre[0], &square = *methods.centre[1];
    const float *x = h[0].data(), rate = methods.rate, before = square;
    for (int j = 0; j < n; j++) sum += size * x[j];
    if (sum - sum != 0) return;
    square += rate * (size - square);
    each(n, [=](int j) { product[j] += rate * (size * x[j] - product[j]); });
    float *c = centre.data(), *a = apart.data();
    if ((before != 0 && before <= 1e-30f) || square <= 1e-30f) {
      find_centre();
      each(n, [=](int j) { a[j] = x[j] - c[j]; });
      return;
    }
    const float share = rate * size / square;
    each(n, [=](int j) { c[j] += share * a[j]; a[j] *= 1 - share; });
    for (int i = 0; i < layer[0].out; i++) {
      float& bias = layer[0].line(i)[n];
      bias += share * (summed[i] - bias);
    }
  }

  // Errors d flow back from the outputs, where they are in `delta`: a unit has push along * d and curvature d^2.
  // Returns the sum that a bounded rule measures.
  float backward(float along) {
    float total = 0;
    for (int l = layers() - 1; l >= 0; l--) {
      const Layer& own = layer[l];
      const float *d = delta[l + 1].data(), *part = left[l + 1].data(), factor = scale;
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *m = measured.data();
      each(own.by_unit ? own.out : own.width, [=](int i) {
        const float own = FRINGE ? d[i] * part[i] : d[i];
        p[i] = along * own;
        c[i] = own * own;
        m[i] = rule.measured(c[i], factor);
      });
      if (own.by_unit) {
        float sum = 0;
        visited[l].clear();
        for (int i = 0; i < own.out; i++) {
          sum += d[i] * d[i];
          if (d[i] != 0) visited[l].push_back(i);
        }
        follow(OWN ? along * along * sum : sum);
        if (!Rule::BOUNDED) continue;
        for (int i : visited[l]) total += ToUnit(own, i, apart.data(), {p[i]}, {m[i]}).measure(rule, meta);
        continue;
      }
      if (l) std::fill(delta[l].begin(), delta[l].end(), 0.f);
      for (int j : visited[l]) {
        const FromInput line(own, j, {h[l][j]}, p, m);
        if (l) delta[l][j] = slope[l][j] * line.dot(d);
        if (Rule::BOUNDED) total += line.measure(rule, meta);
      }
      if (Rule::BOUNDED) total += FromInput(own, own.in, {1}, p, m).measure(rule, meta);
    }
    return total;
  }

  // All weights move. Returns the sum of alpha q that a rule without bound reports.
  float move() {
    float total = 0, none;
    for (int l = 0; l < layers(); l++) {
      const Layer& own = layer[l];
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *g = grown.data(), factor = scale;
      each(own.by_unit ? own.out : own.width, [=](int i) { p[i] *= factor; c[i] *= factor; g[i] = 0; });
      if (own.by_unit) {
        total += move_units(l);
        continue;
      }
      for (int j : visited[l])
        total += FromInput(own, j, {h[l][j]}, p, c).move(rule, meta, &sent[l][j], [=](int i, float before, float now) {
          if (CBP) g[i] += std::fabs(now) - std::fabs(before);
          return FRINGE ? now * now : std::fabs(now);
        });
      for (int i = 0; CBP && i < own.out; i++) fed[l + 1][i] += g[i];
      total += FromInput(own, own.in, {1}, p, c).move(rule, meta, &none, [](int, float, float) { return 0.f; });
    }
    return total;
  }

  // The same of a layer whose lines are units.
  float move_units(int l) {
    const Layer& own = layer[l];
    float total = 0;
    for (int i : visited[l]) {
      float size, *w = own.line(i);
      const ToUnit line(own, i, apart.data(), {P[l + 1][i]}, {C[l + 1][i]});
      total += line.move(rule, meta, &size, [=](int, float, float now) { return CBP ? std::fabs(now) : 0; });
      fed[l + 1][i] = size - std::fabs(w[own.in]);
    }
    return total;
  }

  // One example; sums get the loss, the hit, the sum of alpha q after the bound, and whether there was one.
  void step(bool mse, const float* x, const void* ys, long k, double* sums) {
    forward(x);
    const int n = size(layers());
    float *e = delta[layers()].data(), along = OWN ? -1 : -step_size;
    judge_outputs(mse, h[layers()].data(), ys, k, n, e, sums);
    if (OWN && mse && n == 1) {  // a prediction: p = delta dy/dw, q = (dy/dw)^2
      along = -.5f * e[0];
      e[0] = 1;
    } else if (OWN && mse) {  // half the squared error, summed over the outputs
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
      for (int k = 0; k < own.lines(); k++) {
        float* a = own.line(k) + own.width;
        each(own.width, [=](int i) { a[i] *= factor; });
      }
    scale = 1;
  }

  // Continual backpropagation's averages of the units of hidden layer l. The averages must not keep what is not finite.
  void contributions(int l) {
    const float eta = methods.eta, *a = h[l].data(), *out = sent[l].data();
    const double* in = fed[l].data();
    const bool centred = methods.centred, divided = methods.divided;
    float *shares = methods.units(SHARE, l - 1), *utility = methods.units(UTILITY, l - 1);
    float* means = centred ? methods.units(MEAN, l - 1) : grown.data();
    int32_t* age = methods.counts(AGE, l - 1);
    each(size(l), [=](int j) {
      const float share = eta * shares[j] + (1 - eta), mean = eta * means[j] + (1 - eta) * a[j];
      const float size = std::fabs(centred ? a[j] - mean / share : a[j]) * out[j];
      const float u = divided ? size / std::max((float)in[j], 1e-30f) : size;
      const bool seen = u - u == 0;
      age[j]++;
      shares[j] = seen ? share : shares[j];
      means[j] = seen ? mean : means[j];
      utility[j] = seen ? eta * utility[j] + (1 - eta) * u : utility[j];
    });
  }

  // Utilities, promotions and demotions of the units of hidden layer l, as in `methods.Fringe`.
  void promote(int l) {
    const float eta = methods.eta, maturity = methods.maturity, *a = h[l].data(), *out = sent[l].data();
    float *share = methods.units(SHARE, l - 1), *utility = methods.units(UTILITY, l - 1), *judged = left[l].data();
    int32_t *age = methods.counts(AGE, l - 1), *kept = methods.counts(IN_BACKBONE, l - 1);
    float mean = 0;
    #pragma omp simd reduction(+ : mean)
    for (int j = 0; j < size(l); j++) {
      const float u = a[j] * a[j] * out[j];
      const bool seen = u - u == 0;
      age[j]++;
      share[j] = seen ? eta * share[j] + (1 - eta) : share[j];
      utility[j] = seen ? eta * utility[j] + (1 - eta) * u : utility[j];
      mean += judged[j] = utility[j] / std::max(share[j], 1e-30f);
    }
    const float least = methods.threshold * (mean / size(l));
    int32_t up = 0, down = 0;
    #pragma omp simd reduction(+ : up, down)
    for (int j = 0; j < size(l); j++) {
      const int32_t useful = age[j] > maturity && judged[j] >= least, was = kept[j];
      up += useful & ~was;
      down += was & ~useful;
      kept[j] = useful;
    }
    *methods.counts(PROMOTED, l - 1) += up;
    *methods.counts(DEMOTED, l - 1) += down;
    protect(l);
  }

  // What is left of the gradients of what feeds the units of hidden layer l, from their utilities, which are there.
  void protect(int l) {
    const int32_t* kept = methods.counts(IN_BACKBONE, l - 1);
    float most = 1e-30f, *judged = left[l].data();
    #pragma omp simd reduction(max : most)
    for (int j = 0; j < size(l); j++) {
      judged[j] = kept[j] ? judged[j] : 0;
      most = std::max(most, judged[j]);
    }
    const float less = methods.protection / most;
    each(size(l), [=](int j) { judged[j] = 1 - less * judged[j]; });
  }

  // A new weight from input j to unit i.
  void renew(const Layer& own, int j, int i, float weight) {
    float* at = own.at(j, i);
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
      float bias = 0;
      for (int j = 0; CENTRED && !l && j < into.in; j++) bias += *into.at(j, unit) * centre[j];
      renew(into, into.in, unit, bias);
      for (int i = 0; i < out.out; i++) renew(out, unit, i, 0);
      if (FRINGE) *methods.units(DISTURBANCE, l) += utility[unit] / std::max(share[unit], 1e-30f);
      age[unit] = 0;
      utility[unit] = share[unit] = 0;
      if (methods.units(MEAN, l)) methods.units(MEAN, l)[unit] = 0;
      ++*methods.counts(REPLACED, l);
      for (int near = std::max(l, 1); near <= l + 1; near++) add_up_sent(near);
      add_up_fed(l + 1, unit);
      for (int i = 0; i < out.out; i++) add_up_fed(l + 2, i);
    }
  }
};

// `meta` is SGD's step size. `newborn` has the rule's STATE numbers, `fixed` its settings that do not differ between runs. `kept` is ordered by kind
// (`chain.h`), then by hidden layer; `centre` is what the centre of the inputs follows from; null pointers for what is
// not kept. `settings` are eta, maturity, threshold, protection and the rate of centring.
extern "C" void neoteny_own_steps(float** memory, const int* size, const int* width, int layers, int activation, int mse,
                                  const float* xs, const void* ys, long steps, float meta, const float* fixed,
                                  const float* newborn, void** kept, float** centre, const float* settings, int centred,
                                  int divided, const Event* events, const Event* last, float** features, double* sums) {
  const Methods methods{kept,        centre,       settings[0], settings[1],  settings[2],
                        settings[3], settings[4], centred != 0, divided != 0, layers - 1};
  Network network{{}, (Activation)activation, Rule(fixed), OWN ? meta : 1, meta, newborn, methods};
  for (int l = 0; l < layers; l++) network.layer.push_back({memory[l], size[l], size[l + 1], width[l], CENTRED && !l});
  network.begin();
  for (long k = 0; k < steps; k++) {
    network.step(mse != 0, xs + k * size[0], ys, k, sums);
    for (int l = 1; l < layers; l++) {
      if (CBP) network.contributions(l);
      if (FRINGE) network.promote(l);
    }
    for (; events < last && events->step == k; events++) network.replace(*events);
  }
  network.settle();
  if (CENTRED) network.shift(Vector(size[0], 0.f).data());
  for (int l = 1; l < layers; l++) std::copy_n(network.h[l].begin(), size[l], features[l - 1]);
}
