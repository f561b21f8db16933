// K steps of a rule with a step size for each weight, one example each, on a chain of linear layers and activations.
//
// A layer's memory is [inputs + 1, 1 + STATE, width]: for each input the weights to all units, then each kind of state.
// The last input is constant 1, and its weights are the biases; width is the number of units, rounded up. Rows whose
// input is 0 and through which no error flows back are not visited: with images of MNIST four fifths of the first
// layer, with ReLU half of every other. The compiler is given the rule, RULE; see `rules.h`.
#include "chain.h"
#include "rules.h"
#include <vector>

typedef RULE Rule;
typedef std::vector<float> Vector;

struct Layer {
  float* memory;
  int in, out, width;
  float* row(int j) const { return memory + (long)j * (1 + Rule::STATE) * width; }
};

// What continual backpropagation keeps of the hidden layers, [units] each, and which utility it is.
struct Utility {
  float **share, **mean, **utility;
  int32_t **age, **replaced;
  float eta, maturity;
  bool centred, divided;
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

  float move(const Rule& rule, float meta) const {
    float total = 0;
    #pragma omp simd reduction(+ : total)
    for (int i = 0; i < n; i++) total += rule.move(meta, x, P[i], C[i], w[i], state, i);
    return total;
  }

  // The same; also gives the sum of the new |w|, and adds what each has grown by.
  float move(const Rule& rule, float meta, float* size, float* grown) const {
    float total = 0, sum = 0;
    #pragma omp simd reduction(+ : total, sum)
    for (int i = 0; i < n; i++) {
      const float before = std::fabs(w[i]);
      total += rule.move(meta, x, P[i], C[i], w[i], state, i);
      const float after = std::fabs(w[i]);
      grown[i] += after - before;
      sum += after;
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
  const Utility* cbp;

  float scale = 1;
  // of the units of each layer, from the inputs on: activations, slopes, errors; pushes and curvatures; sums of |w| out
  // of a unit, and into it, in double precision since they are kept up to date from step to step
  std::vector<Vector> h, slope, delta, P, C, sent;
  std::vector<std::vector<double>> fed;
  std::vector<std::vector<int>> rows;  // the inputs of each layer whose rows are visited
  Vector measured, grown;

  int layers() const { return layer.size(); }
  int size(int l) const { return l ? layer[l - 1].out : layer[0].in; }

  void begin() {
    int widest = 0;
    for (int l = 0; l <= layers(); l++) {
      const int width = l ? layer[l - 1].width : layer[0].in;
      widest = std::max(widest, width);
      for (auto* kind : {&h, &slope, &delta, &P, &C, &sent}) kind->emplace_back(width, 0.f);
      fed.emplace_back(width, 0.0);
      rows.emplace_back();
    }
    measured.assign(widest, 0.f);
    grown.assign(widest, 0.f);
    if (cbp) for (int l = 1; l < layers(); l++) add_up(l);
  }

  // The sums of |w| of the units of hidden layer l.
  void add_up(int l) {
    const Layer &into = layer[l - 1], &out = layer[l];
    std::fill(fed[l].begin(), fed[l].end(), 0.0);
    for (int j = 0; j < into.in; j++) for (int i = 0; i < into.out; i++) fed[l][i] += std::fabs(into.row(j)[i]);
    for (int j = 0; j < out.in; j++) {
      sent[l][j] = 0;
      for (int i = 0; i < out.out; i++) sent[l][j] += std::fabs(out.row(j)[i]);
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

  // Errors d flow back from the outputs, where they are in `delta`: a unit has push along * d and curvature d^2.
  // Returns the sum that a bounded rule measures.
  float backward(float along) {
    float total = 0;
    for (int l = layers() - 1; l >= 0; l--) {
      const Layer& own = layer[l];
      const float *d = delta[l + 1].data(), factor = scale;
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *m = measured.data();
      each(own.width, [=](int i) { p[i] = along * d[i]; c[i] = d[i] * d[i]; m[i] = rule.measured(c[i], factor); });
      if (l) std::fill(delta[l].begin(), delta[l].end(), 0.f);
      for (int j : rows[l]) {
        const Row row(own, j, h[l][j], P[l + 1], measured);
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
      float *p = P[l + 1].data(), *c = C[l + 1].data(), *g = grown.data(), factor = scale;
      each(own.width, [=](int i) { p[i] *= factor; c[i] *= factor; g[i] = 0; });
      for (int j : rows[l]) {
        const Row row(own, j, h[l][j], P[l + 1], C[l + 1]);
        total += cbp ? row.move(rule, meta, &sent[l][j], g) : row.move(rule, meta);
      }
      if (cbp) for (int i = 0; i < own.out; i++) fed[l + 1][i] += g[i];
      total += Row(own, own.in, 1, P[l + 1], C[l + 1]).move(rule, meta);
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

  void judge_units() {
    const float eta = cbp->eta;
    for (int l = 1; l < layers(); l++)
      for (int j = 0; j < size(l); j++) {
        const float share = eta * cbp->share[l - 1][j] + (1 - eta);
        float u = h[l][j], mean = 0;
        if (cbp->centred) {
          mean = eta * cbp->mean[l - 1][j] + (1 - eta) * u;
          u -= mean / share;
        }
        u = std::fabs(u) * sent[l][j];
        if (cbp->divided) u /= std::max((float)fed[l][j], 1e-30f);
        cbp->age[l - 1][j]++;
        if (!(u - u == 0)) continue;  // the averages must not keep what is not finite
        cbp->share[l - 1][j] = share;
        if (cbp->centred) cbp->mean[l - 1][j] = mean;
        cbp->utility[l - 1][j] = eta * cbp->utility[l - 1][j] + (1 - eta) * u;
      }
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
      float *utility = cbp->utility[l], *share = cbp->share[l];
      const int unit = least_useful(cbp->age[l], utility, share, nullptr, size(l + 1), 1, cbp->maturity);
      if (unit < 0) return;
      const Layer &into = layer[l], &out = layer[l + 1];
      for (int j = 0; j < into.in; j++) renew(into, j, unit, event.fresh[(long)unit * event.stride + j]);
      renew(into, into.in, unit, 0);
      for (int i = 0; i < out.out; i++) renew(out, unit, i, 0);
      cbp->age[l][unit] = 0;
      utility[unit] = share[unit] = 0;
      if (cbp->centred) cbp->mean[l][unit] = 0;
      cbp->replaced[l][0]++;
      for (int near = std::max(l, 1); near <= std::min(l + 2, layers() - 1); near++) add_up(near);
    }
  }
};

// `newborn` has the rule's STATE numbers, `fixed` its settings that do not differ between runs.
extern "C" void neoteny_own_steps(float** memory, const int* size, const int* width, int layers, int activation, int mse,
                                  const float* xs, const void* ys, long steps, float meta, const float* fixed,
                                  const float* newborn, float** share, float** mean, float** utility, int32_t** age,
                                  int32_t** replaced, float eta, float maturity, int centred, int divided,
                                  const Event* events, const Event* last, float** features, double* sums) {
  const Utility cbp{share, mean, utility, age, replaced, eta, maturity, centred != 0, divided != 0};
  Network network{{}, (Activation)activation, Rule(fixed), meta, newborn, share ? &cbp : nullptr};
  for (int l = 0; l < layers; l++) network.layer.push_back({memory[l], size[l], size[l + 1], width[l]});
  network.begin();
  for (long k = 0; k < steps; k++) {
    network.step(mse != 0, xs + k * size[0], ys, k, sums);
    if (share) network.judge_units();
    for (; events < last && events->step == k; events++) network.replace(*events);
  }
  network.settle();
  for (int l = 1; l < layers; l++) std::copy_n(network.h[l].begin(), size[l], features[l - 1]);
}
