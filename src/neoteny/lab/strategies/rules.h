// Rules with a step size for each weight, and SGD, as the inner loops of the kernels `own_steps.cpp` and `lanes.cpp`.
//
// With one example, weight (i, j) of a linear layer, from input j to unit i, gets p = P_i x_j and q = C_i x_j^2 of
// `neoteny.optim.own_steps`: a number of the unit times a number of the input. So a rule sees the input x, the unit's
// push P and curvature C, and what is kept of the weight: w and STATE further numbers.
//
// A BOUNDED rule needs a sum over all weights before any of them moves. It acts in two passes: `measure` changes the
// state and returns the weight's part of the sum, `move` changes the weight. Where the bound cannot be reached, `both` does
// it in one pass, with P and C as `measure` and as `move` get them. Every other rule does all in `move`. Step
// sizes may have a factor in common, `scale`, so that what divides all of them costs nothing for weights whose inputs
// are 0: alpha = scale a. Such a weight is not visited at all, so p = q = 0 must leave its state as it is, but for scale.
//
// A further rule: a struct like these, its name in `RULES` (`own_steps.py`). What is a unit's own (a protected unit that
// learns slower, a candidate that learns from an error of its own) goes into P and C, which the kernels compute unit by
// unit, before the inner loops.
#pragma once
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

// exp(x), to some units in the last place; loops over it are vectorised.
static inline float exponential(float x) {
  x = std::min(std::max(x, -87.f), 88.f);  // NaN stays
  const float whole = std::floor(x * 1.442695041f + .5f), r = x - whole * .693359375f + whole * 2.12194440e-4f;
  const int32_t n = (int32_t)whole;  // x = n log 2 + r, with log 2 in two parts
  const float e = 1 + r * (1 + r * (.5f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
  const int32_t bits = (n + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return e * power;
}

// `neoteny.optim.Autostep`. SMALL: mu <= 1/32, for which a short polynomial is exact.
template <bool SMALL> struct Autostep {
  static constexpr bool BOUNDED = true;
  static constexpr int STATE = 3;
  enum { ALPHA, H, V };
  float tau;
  explicit Autostep(const float* fixed) : tau(fixed[0]) {}

  // C as `measure` gets it, and the sum of what it returns as the sum of alpha q
  template <class T> T measured(T C, T scale) const { return C * scale / tau; }
  template <class T> T sum(T total) const { return total * tau; }

  // The new alpha, and v in place.
  static float adapted(float mu, float product, float rate, float a, float& v) {
    const float size = std::fabs(product), decayed = v + a * rate * (size - v);
    v = std::max(decayed, size);
    const float r = product / std::max(FLT_MIN, v);  // v = 0 only where the product is 0
    if (!SMALL) return a * exponential(mu * r);
    const float square = mu * mu * .5f, cube = mu * mu * mu * (1 / 6.f);  // computed once for many weights
    return a + a * (r * (mu + r * (square + r * cube)));
  }

  float measure(float mu, float x, float P, float C, float* const* s, int i) const {
    const float rate = C * (x * x);
    float v = s[V][i];
    const float a = adapted(mu, P * (x * s[H][i]), rate, s[ALPHA][i], v);
    s[V][i] = v;
    s[ALPHA][i] = a;
    return a * rate;
  }

  float move(float, float x, float P, float C, float& w, float* const* s, int i) const {
    const float ax = s[ALPHA][i] * x, h = s[H][i];
    w += ax * P;
    s[H][i] = h + ax * (P - C * (x * h));
    return 0;
  }

  float both(float mu, float x, float P, float C, float moving, float curved, float& w, float* const* s, int i) const {
    const float h = s[H][i], xh = x * h, rate = C * (x * x);
    float v = s[V][i];
    const float a = adapted(mu, P * xh, rate, s[ALPHA][i], v), ax = a * x;
    s[V][i] = v;
    s[ALPHA][i] = a;
    s[H][i] = h + ax * (moving - curved * xh);
    w += ax * moving;
    return a * rate;
  }
};

// `neoteny.optim.IDBD`; its state is beta = log alpha.
struct IDBD {
  static constexpr bool BOUNDED = false;
  static constexpr int STATE = 2;
  enum { BETA, H };
  float least, most;  // of beta, and of its change
  explicit IDBD(const float* fixed) : least(fixed[0]), most(fixed[1]) {}

  template <class T> T measured(T C, T) const { return C; }
  template <class T> T sum(T total) const { return total; }
  float measure(float, float, float, float, float* const*, int) const { return 0; }
  float both(float, float, float, float, float, float, float&, float* const*, int) const { return 0; }

  float move(float theta, float x, float P, float C, float& w, float* const* s, int i) const {
    const float p = P * x, h = s[H][i];
    const float change = std::min(std::max(theta * p * h, -most), most), beta = std::max(s[BETA][i] + change, least);
    s[BETA][i] = beta;
    const float alpha = exponential(beta), share = alpha * C * x * x, kept = 1 - share;
    w += alpha * p;
    s[H][i] = h * std::max(kept, 0.f) + alpha * p;
    return share;
  }
};

// Stochastic gradient descent: the step size is in P, what a weight keeps of itself in the place of the meta step size.
struct SGD {
  static constexpr bool BOUNDED = false;
  static constexpr int STATE = 0;
  explicit SGD(const float*) {}
  template <class T> T measured(T C, T) const { return C; }
  template <class T> T sum(T total) const { return total; }
  float measure(float, float, float, float, float* const*, int) const { return 0; }
  float both(float, float, float, float, float, float, float&, float* const*, int) const { return 0; }
  float move(float keep, float x, float P, float, float& w, float* const*, int) const {
    w = keep * w + P * x;
    return 0;
  }
};
