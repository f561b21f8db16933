// SwiftTD on sparse features: the rule of neoteny/optim/swift_td.py, at the cost of the features that are eligible.
//
// A feature is eligible from when it is active until its traces have decayed to a share epsilon. The state of eligible
// features lies side by side in slots, so that the update of all of them is one pass over contiguous memory; the others
// keep only what outlives their traces, in `Home`.

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

struct Home {
  double weight, log_step, h;
  int64_t clears;  // how often the h of all features had been cleared when this h was written
  int32_t slot;    // -1: not eligible
  int32_t seen;    // the last step in which it was active, to find what is given twice
};

enum Row { WEIGHT, LOG_STEP, H, H_BEFORE, FOLLOWING, TRACE, HISTORY, SLOPE, INJECTED, CHANGE, LEFT, ROWS };

struct Learner {
  Home* home;
  int32_t* member;  // the feature in each slot
  double* slots;    // [ROWS, features]
  int64_t features, eligible, clears, step;
  double before, drift;  // the last prediction, and what the last update changed of it
  double meta_step_size, log_bound, log_least, bound, log_decay, epsilon;
  int64_t sparse_order;

  double* row(Row which) const { return slots + which * features; }
};

// e^x for the few digits of exponent that step sizes have, to a relative 1e-15; written so that it fits into vectors.
inline double exponential(double x) {
  const double whole = std::rint(x * 1.4426950408889634), r = x - whole * 0.6931471805599453;
  double sum = 1.0 / 6227020800.0;
  const double inverse[] = {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                            1.0 / 5040.0,      1.0 / 720.0,      1.0 / 120.0,     1.0 / 24.0,     1.0 / 6.0,
                            0.5,               1.0,              1.0};
  for (double each : inverse) sum = sum * r + each;
  const int64_t bits = (static_cast<int64_t>(static_cast<int32_t>(whole)) + 1023) << 52;
  double power;
  __builtin_memcpy(&power, &bits, sizeof power);
  return sum * power;
}

double predicted(const Learner& l, int64_t active, const int64_t* index, const double* x) {
  double sum = 0;
  for (int64_t k = 0; k < active; k++) {
    const Home& home = l.home[index[k]];
    sum += x[k] * (home.slot < 0 ? home.weight : l.row(WEIGHT)[home.slot]);
  }
  return sum;
}

// Only at the end of a step: then the h of an inactive feature is what the next step would take as h and as h_before.
void drop(Learner& l, int64_t slot) {
  Home& home = l.home[l.member[slot]];
  home = {l.row(WEIGHT)[slot], l.row(LOG_STEP)[slot], l.row(H)[slot], l.clears, -1, home.seen};
  const int64_t last = --l.eligible;
  if (slot == last) return;
  for (int row = 0; row < ROWS; row++) l.row(Row(row))[slot] = l.row(Row(row))[last];
  l.member[slot] = l.member[last];
  l.home[l.member[slot]].slot = static_cast<int32_t>(slot);
}

int32_t admit(Learner& l, int64_t feature) {
  Home& home = l.home[feature];
  if (home.slot >= 0) return home.slot;
  const int32_t slot = static_cast<int32_t>(l.eligible++);
  const double h = home.clears == l.clears ? home.h : 0.0;
  for (Row row : {TRACE, HISTORY, SLOPE, INJECTED, CHANGE}) l.row(row)[slot] = 0;
  for (Row row : {H, H_BEFORE, FOLLOWING}) l.row(row)[slot] = h;
  l.row(WEIGHT)[slot] = home.weight, l.row(LOG_STEP)[slot] = home.log_step;
  l.member[slot] = static_cast<int32_t>(feature);
  return home.slot = slot;
}

// What an error does to all eligible features, and the decay of their traces.
void learn(Learner& l, double error, double decay) {
  double *weight = l.row(WEIGHT), *log_step = l.row(LOG_STEP), *h = l.row(H), *before = l.row(H_BEFORE);
  double *following = l.row(FOLLOWING), *trace = l.row(TRACE), *history = l.row(HISTORY), *slope = l.row(SLOPE);
  double *injected = l.row(INJECTED), *change = l.row(CHANGE), *left = l.row(LEFT);
  const double drift = l.drift, theta = l.meta_step_size * (error - drift);
  const double most = l.log_bound, least = l.log_least;
#pragma omp simd
  for (int64_t k = 0; k < l.eligible; k++) {
    const double undone = injected[k] * drift;
    change[k] = error * trace[k] - undone;
    weight[k] += change[k];
    const double moved = log_step[k] + theta * exponential(-log_step[k]) * history[k];
    log_step[k] = moved < least ? least : moved > most ? most : moved;
    before[k] = h[k];
    h[k] = following[k] = following[k] + error * slope[k] - undone;
    injected[k] = 0;
    trace[k] *= decay, history[k] *= decay, slope[k] *= decay, left[k] *= decay;
  }
}

// Add the active features to the traces; returns what the last update changed of their prediction.
double inject(Learner& l, int64_t active, const int64_t* index, const double* x) {
  double *log_step = l.row(LOG_STEP), *h = l.row(H), *before = l.row(H_BEFORE), *following = l.row(FOLLOWING);
  double *trace = l.row(TRACE), *history = l.row(HISTORY), *slope = l.row(SLOPE), *injected = l.row(INJECTED);
  double rate = 0, along = 0, drift = 0;
  for (int64_t k = 0; k < active; k++) {
    const int32_t slot = admit(l, index[k]);
    injected[slot] = exponential(log_step[slot]) * x[k];
    rate += injected[slot] * x[k];
    along += trace[slot] * x[k];
    drift += l.row(CHANGE)[slot] * x[k];
  }
  const bool over = rate > l.bound, first = over && l.sparse_order;
  const double share = over ? l.bound / rate : 1, passed = 1 - along;
  for (int64_t k = 0; k < active; k++) {
    const int32_t slot = l.home[index[k]].slot;
    if (first) h[slot] = before[slot] = slope[slot] = 0;
    const double s = injected[slot] *= share;
    if (over) log_step[slot] += l.log_decay * x[k] * x[k];
    trace[slot] += s * passed;
    history[slot] += before[slot] * x[k];
    slope[slot] += s * (passed - slope[slot] * x[k]);
    following[slot] = h[slot] - before[slot] * x[k] * (trace[slot] - s) - h[slot] * s * x[k];
    l.row(LEFT)[slot] = 1;
  }
  if (over && !first) {
    l.clears++;
    for (Row row : {H, H_BEFORE, FOLLOWING, SLOPE}) std::fill_n(l.row(row), l.eligible, 0.0);
  }
  return drift;
}

}  // namespace

extern "C" {

double neoteny_swift_td_predict(const Learner* learner, int64_t active, const int64_t* index, const double* x) {
  return predicted(*learner, active, index, x);
}

// One step; returns 1, and has changed nothing, where a feature is given twice.
int neoteny_swift_td_step(Learner* learner, int64_t active, const int64_t* index, const double* x, double cumulant,
                          double discount, double decay, double* prediction) {
  Learner& l = *learner;
  const int32_t now = static_cast<int32_t>(++l.step);
  for (int64_t k = 0; k < active; k++) {
    if (l.home[index[k]].seen == now) return 1;
    l.home[index[k]].seen = now;
  }
  *prediction = predicted(l, active, index, x);
  learn(l, cumulant + discount * *prediction - l.before, decay);
  l.drift = inject(l, active, index, x);
  l.before = *prediction;
  const double* left = l.row(LEFT);
  for (int64_t k = l.eligible - 1; k >= 0; k--)
    if (left[k] <= l.epsilon) drop(l, k);
  return 0;
}

}
