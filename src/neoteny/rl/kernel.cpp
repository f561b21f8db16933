// A step of a streaming agent, in place: what came of the last action is normalised, learned from by ObGD with traces, and
// the next action is chosen. The formulas are those of experience.py, stream_ac.py, stream_q.py and optim/obgd.py.
//
// The weights are gone through as seldom as possible: two states forward in one pass, one pass for the new traces and
// their sums, one for the update.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

using Vector = std::vector<float>;

// As many numbers as the processor takes at once, which need not be aligned: wider vectors would go through memory.
#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
typedef float V __attribute__((vector_size(4 * W), aligned(4), may_alias));
static inline V load(const float* p) { return *(const V*)p; }
static inline void store(float* p, V v) { *(V*)p = v; }

static inline float total(V v) {
  float s = 0;
  #pragma omp simd reduction(+ : s)
  for (int i = 0; i < W; i++) s += v[i];
  return s;
}

static inline V size_of(V v) { return v < 0 ? -v : v; }

static float dot(const float* a, const float* b, int n) {
  V s = {};
  int j = 0;
  for (; j + W <= n; j += W) s += load(a + j) * load(b + j);
  float sum = total(s);
  for (; j < n; j++) sum += a[j] * b[j];
  return sum;
}

// The products of R rows of n weights with S vectors: rows of their own would wait for one sum after the other.
template <int R, int S>
static inline void products(const float* w, const float* const* x, int n, float sums[R][S]) {
  V s[R][S] = {};
  int j = 0;
  for (; j + W <= n; j += W)
    for (int r = 0; r < R; r++) {
      const V row = load(w + (long)r * n + j);
      for (int k = 0; k < S; k++) s[r][k] += row * load(x[k] + j);
    }
  for (int r = 0; r < R; r++)
    for (int k = 0; k < S; k++) {
      sums[r][k] = total(s[r][k]);
      for (int i = j; i < n; i++) sums[r][k] += w[(long)r * n + i] * x[k][i];
    }
}

// One linear layer, or a convolution of kernel 3 without padding: then its inputs are laid out as patches.
struct Layer {
  int in, out, side, channels;  // of a convolution in = 9 channels, and the maps have (side - 2)^2 positions
  bool norm, last;
  float *w, *b, *zw, *zb;
  int positions() const { return side ? (side - 2) * (side - 2) : 1; }
  int units() const { return out * positions(); }
};

// What a state makes of a layer: its input, and the activation behind it with what its gradient needs.
struct Pass { Vector input, value, normal; float rstd = 1; };

struct Network {
  std::vector<Layer> layers;
  std::vector<Pass> here, there;
  std::vector<Vector> delta, spread;
  float kappa = 2, alpha = 1;

  void prepare() {
    for (auto* passes : {&here, &there}) {
      passes->resize(layers.size());
      for (size_t l = 0; l < layers.size(); l++) {
        const Layer& a = layers[l];
        (*passes)[l].input.resize(a.in * a.positions());
        (*passes)[l].value.resize(a.units());
        (*passes)[l].normal.resize(a.units());
      }
    }
    for (auto& a : layers) { delta.emplace_back(a.units()); spread.emplace_back(a.in); }
  }

  static void lay(const Layer& a, const float* x, Vector& input) {
    if (!a.side) { std::copy(x, x + a.in, input.begin()); return; }
    const int n = a.side - 2;
    float* p = input.data();
    for (int c = 0; c < a.channels; c++)
      for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
          for (int r = 0; r < n; r++, p += n) std::copy_n(x + (c * a.side + r + i) * a.side + j, n, p);
  }

  static void linear(const Layer& a, std::initializer_list<Pass*> passes) {
    const int n = a.positions();
    if (n > 1) {
      for (Pass* pass : passes)
        for (int i = 0; i < a.out; i++) {
          float* __restrict__ v = pass->value.data() + i * n;
          std::fill_n(v, n, a.b[i]);
          for (int k = 0; k < a.in; k++) {
            const float w = a.w[i * a.in + k];
            const float* __restrict__ x = pass->input.data() + k * n;
            #pragma omp simd
            for (int p = 0; p < n; p++) v[p] += w * x[p];
          }
        }
      return;
    }
    if (passes.size() == 1) rows<1>(a, passes.begin()); else rows<2>(a, passes.begin());
  }

  template <int S>
  static void rows(const Layer& a, Pass* const* passes) {
    const float* x[S];
    for (int k = 0; k < S; k++) x[k] = passes[k]->input.data();
    float sums[4][S];
    int i = 0;
    for (; i + 4 <= a.out; i += 4) {
      products<4, S>(a.w + (long)i * a.in, x, a.in, sums);
      for (int r = 0; r < 4; r++)
        for (int k = 0; k < S; k++) passes[k]->value[i + r] = a.b[i + r] + sums[r][k];
    }
    for (; i < a.out; i++) {
      products<1, S>(a.w + (long)i * a.in, x, a.in, sums);
      for (int k = 0; k < S; k++) passes[k]->value[i] = a.b[i] + sums[0][k];
    }
  }

  static void activate(const Layer& a, Pass& pass) {
    if (a.last) return;
    const int n = a.units();
    float* __restrict__ v = pass.value.data();
    float* __restrict__ u = pass.normal.data();
    if (a.norm) {
      float sum = 0, squares = 0;
      #pragma omp simd reduction(+ : sum)
      for (int i = 0; i < n; i++) sum += v[i];
      const float mean = sum / n;
      #pragma omp simd reduction(+ : squares)
      for (int i = 0; i < n; i++) squares += (v[i] - mean) * (v[i] - mean);
      const float rstd = pass.rstd = 1 / std::sqrt(squares / n + 1e-5f);
      #pragma omp simd
      for (int i = 0; i < n; i++) v[i] = (v[i] - mean) * rstd;
    }
    #pragma omp simd
    for (int i = 0; i < n; i++) { u[i] = v[i]; v[i] = v[i] > 0 ? v[i] : 0.01f * v[i]; }
  }

  // The outputs for one state or two.
  void forward(const float* x, const float* y = nullptr) {
    for (size_t l = 0; l < layers.size(); l++) {
      const Layer& a = layers[l];
      lay(a, l ? here[l - 1].value.data() : x, here[l].input);
      if (y) lay(a, l ? there[l - 1].value.data() : y, there[l].input);
      if (y) linear(a, {&here[l], &there[l]}); else linear(a, {&here[l]});
      activate(a, here[l]);
      if (y) activate(a, there[l]);
    }
  }

  const Vector& outputs() const { return here.back().value; }
  const Vector& outputs_there() const { return there.back().value; }

  // The gradients of the outputs, which are in delta.back(), back to all layers.
  void backward() {
    for (size_t l = layers.size() - 1; l > 0; l--) {
      const Layer &a = layers[l], &below = layers[l - 1];
      const Pass& pass = here[l - 1];
      float* __restrict__ d = delta[l - 1].data();
      const int n = below.units();  // no convolution follows another layer
      std::fill_n(d, n, 0.f);
      int i = 0;
      for (; i + 4 <= a.out; i += 4) {
        const float *g = delta[l].data() + i, *w = a.w + (long)i * a.in;
        #pragma omp simd
        for (int j = 0; j < n; j++)
          d[j] += g[0] * w[j] + g[1] * w[j + n] + g[2] * w[j + 2 * n] + g[3] * w[j + 3 * n];
      }
      for (; i < a.out; i++) {
        const float g = delta[l][i], *w = a.w + (long)i * a.in;
        #pragma omp simd
        for (int j = 0; j < n; j++) d[j] += g * w[j];
      }
      const float* __restrict__ u = pass.normal.data();
      #pragma omp simd
      for (int j = 0; j < n; j++) d[j] *= u[j] > 0 ? 1.f : 0.01f;
      if (!below.norm) continue;
      float sum = 0, with = 0;
      #pragma omp simd reduction(+ : sum, with)
      for (int j = 0; j < n; j++) { sum += d[j]; with += d[j] * u[j]; }
      sum /= n;
      with /= n;
      #pragma omp simd
      for (int j = 0; j < n; j++) d[j] = pass.rstd * (d[j] - sum - u[j] * with);
    }
  }

  // z <- decay z + g; the sums of |z| and of z g.
  void traces(float decay, float* norm, float* along) {
    float sum = 0, product = 0;
    V sums = {}, products = {};
    for (size_t l = 0; l < layers.size(); l++) {
      const Layer& a = layers[l];
      const int n = a.positions();
      const float* x = here[l].input.data();
      for (int i = 0; i < a.out; i++) {
        const float* d = delta[l].data() + i * n;
        const float* in = x;
        float scale = d[0], bias = d[0];
        if (n > 1) {
          bias = 0;
          for (int p = 0; p < n; p++) bias += d[p];
          for (int k = 0; k < a.in; k++) spread[l][k] = dot(d, x + k * n, n);
          in = spread[l].data();
          scale = 1;
        }
        float* z = a.zw + (long)i * a.in;
        int j = 0;
        for (; j + W <= a.in; j += W) {
          const V g = scale * load(in + j), v = decay * load(z + j) + g;
          store(z + j, v);
          sums += size_of(v);
          products += v * g;
        }
        auto rest = [&](float& z, float g) {
          z = decay * z + g;
          sum += std::fabs(z);
          product += z * g;
        };
        for (; j < a.in; j++) rest(z[j], scale * in[j]);
        rest(a.zb[i], bias);
      }
    }
    *norm = sum + total(sums);
    *along = product + total(products);
  }

  // w <- w + step z; z <- 0 where traces end.
  void update(float step, bool reset) {
    auto along = [=](float* __restrict__ w, float* __restrict__ z, long n) {
      #pragma omp simd
      for (long j = 0; j < n; j++) w[j] += step * z[j];
      if (reset) std::fill_n(z, n, 0.f);
    };
    for (const Layer& a : layers) along(a.w, a.zw, (long)a.out * a.in), along(a.b, a.zb, a.out);
  }

  // One step of ObGD; what it records goes to three sums.
  void learn(float error, float decay, bool reset, double** sums) {
    float norm, along;
    backward();
    traces(decay, &norm, &along);
    const float overshoot = alpha * kappa * std::max(std::fabs(error), 1.f) * norm;
    const float step = alpha / std::max(overshoot, 1.f);
    update(step * error, reset);
    *sums[0] += step * along;
    *sums[1] += norm;
    *sums[2] += overshoot > 1;
  }
};

struct Agent {
  int observations, inputs, actions;
  bool values, norms, scales, mean, timed, bootstraps, clips, before;
  float gamma, decay, entropy, limit;
  Network critic, actor;  // the first alone, if it gives the values of actions
  float *seen, *action, *given, *time, *low, *high;
  int64_t* chosen;
  int32_t* count;
  double *m, *squares, *n, *r_sum, *r_mean, *r_squares, *r_count;
  double* sums[10];
  Vector reached, next, old;

  void see(const float* x, float* out) {
    if (!norms) { std::copy_n(x, observations, out); return; }
    const double k = *n += 1;
    const double share = k > 1 ? 1 / (k - 1) : 0;
    for (int i = 0; i < observations; i++) {
      const double away = x[i] - m[i];
      m[i] += away / k;
      squares[i] += away * (x[i] - m[i]);
      const double variance = k > 1 ? squares[i] * share : 1;
      out[i] = (float)((x[i] - m[i]) / std::sqrt(variance + 1e-8));
    }
  }

  float scaled(float reward, bool ended) {
    if (!scales) return reward;
    const double u = (ended ? 0.0 : (double)gamma_double * *r_sum) + reward, k = *r_count += 1, before = *r_mean;
    if (mean) *r_mean += (u - before) / k;
    *r_squares += (u - before) * (u - *r_mean);
    *r_sum = u;
    const double moment = k > 1 ? *r_squares / (mean ? k - 1 : k) : 1;
    return (float)(reward / std::sqrt(moment + 1e-8));
  }
  double gamma_double;

  void act(const float* lots) {
    if (values) {
      critic.forward(seen);
      const Vector& q = critic.outputs();
      *chosen = lots[0] < 0 ? std::max_element(q.begin(), q.end()) - q.begin() : (int64_t)lots[0];
      return;
    }
    actor.forward(seen);
    const float* out = actor.outputs().data();
    for (int i = 0; i < actions; i++) {
      action[i] = out[i] + soft(out[actions + i]) * lots[i];
      given[i] = clips ? std::min(std::max(action[i], low[i]), high[i]) : action[i];
    }
  }

  static float soft(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }

  void step(const float* rows, const float* outcomes, const float* lots) {
    const bool terminated = outcomes[1] > 0, ended = terminated || outcomes[2] > 0;
    const bool over = bootstraps ? terminated : ended;
    const float reward = scaled(outcomes[0], ended), follows = over ? 0.f : gamma;
    std::copy_n(seen, inputs, old.begin());
    see(rows, reached.data());
    std::copy_n(reached.data(), observations, seen);
    if (ended) see(rows + observations, seen);
    if (timed) {
      const float now = *time + 1;
      *time = ended ? 0 : now;
      reached[observations] = now / limit - 0.5f;
      seen[observations] = *time / limit - 0.5f;
    }
    critic.forward(old.data(), reached.data());
    if (values) learn_values(reward, follows, ended); else learn_both(reward, follows, ended);
    act(lots);
    *count += 1;
  }

  void learn_values(float reward, float follows, bool ended) {
    const Vector &q = critic.outputs(), &after = critic.outputs_there();
    const float value = q[*chosen], best = *std::max_element(after.begin(), after.end());
    const float error = reward + follows * best - value;
    const bool greedy = value >= *std::max_element(q.begin(), q.end());
    Vector& d = critic.delta.back();
    std::fill(d.begin(), d.end(), 0.f);
    d[*chosen] = 1;
    critic.learn(error, before && !greedy ? 0 : decay, ended || (!before && !greedy), sums + 2);
    *sums[0] += value;
    *sums[1] += std::fabs(error);
  }

  void learn_both(float reward, float follows, bool ended) {
    const float value = critic.outputs()[0], error = reward + follows * critic.outputs_there()[0] - value;
    critic.delta.back()[0] = 1;
    critic.learn(error, decay, ended, sums + 2);
    *sums[0] += value;
    *sums[1] += std::fabs(error);

    actor.forward(old.data());
    const float* out = actor.outputs().data();
    float* d = actor.delta.back().data();
    const float pull = entropy * (float)((error > 0) - (error < 0));
    float likely = 0, spread = 0;
    for (int i = 0; i < actions; i++) {
      const float raw = out[actions + i], std = soft(raw), away = (action[i] - out[i]) / std;
      likely += -0.5f * away * away - std::log(std) - 0.91893853f;
      spread += std::log(std) + 1.41893853f;
      d[i] = away / std;
      d[actions + i] = ((away * away - 1) / std + pull / std) / (1 + std::exp(-raw));
    }
    actor.learn(error, decay, ended, sums + 7);
    *sums[5] += likely + pull * spread;
    *sums[6] += spread;
  }
};

// Numbers and addresses in the order in which kernel.py gives them.
struct Reader {
  const int64_t* at;
  int64_t next() { return *at++; }
  template <class T> T* pointer() { return (T*)*at++; }
};

static Network network(Reader& in, float alpha, float kappa) {
  Network made;
  const int layers = in.next();
  for (int l = 0; l < layers; l++) {
    Layer a;
    a.in = in.next(), a.out = in.next(), a.side = in.next(), a.channels = in.next(), a.norm = in.next();
    a.last = l + 1 == layers;
    a.w = in.pointer<float>(), a.b = in.pointer<float>(), a.zw = in.pointer<float>(), a.zb = in.pointer<float>();
    made.layers.push_back(a);
  }
  made.alpha = alpha, made.kappa = kappa;
  made.prepare();
  return made;
}

extern "C" void* neoteny_agent(const int64_t* whole, const double* reals) {
  Reader in{whole};
  Agent* made = new Agent;
  Agent& a = *made;
  a.observations = in.next(), a.inputs = in.next(), a.actions = in.next();
  for (bool* flag : {&a.values, &a.norms, &a.scales, &a.mean, &a.timed, &a.bootstraps, &a.clips, &a.before})
    *flag = in.next();
  a.gamma = reals[0], a.gamma_double = reals[0], a.decay = reals[1], a.entropy = reals[2], a.limit = reals[3];
  a.seen = in.pointer<float>(), a.action = in.pointer<float>(), a.given = in.pointer<float>();
  a.time = in.pointer<float>(), a.low = in.pointer<float>(), a.high = in.pointer<float>();
  a.chosen = in.pointer<int64_t>(), a.count = in.pointer<int32_t>();
  for (double** p : {&a.m, &a.squares, &a.n, &a.r_sum, &a.r_mean, &a.r_squares, &a.r_count}) *p = in.pointer<double>();
  for (double*& p : a.sums) p = in.pointer<double>();
  a.critic = network(in, reals[4], reals[5]);
  if (!a.values) a.actor = network(in, reals[6], reals[7]);
  for (Vector* v : {&a.reached, &a.next, &a.old}) v->resize(a.inputs);
  return made;
}

extern "C" void neoteny_agent_step(void* agent, const float* observations, const float* outcomes, const float* lots) {
  ((Agent*)agent)->step(observations, outcomes, lots);
}

extern "C" void neoteny_agent_free(void* agent) { delete (Agent*)agent; }
