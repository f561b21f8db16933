// What a step of a small network spends on its methods, in few calls: single precision, on a CPU, one thread.
//
// Each function computes what a rule in Python computes with tensors, up to rounding; `kernels.py` says where it is
// called, and tests hold the two together.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

using Count = std::int64_t;
constexpr std::int32_t OLD = INT32_MAX;
constexpr Count ROWS = 64;  // summed in single precision before they are added to a sum in double precision

struct Magnitude {
    float operator()(float x) const { return std::fabs(x); }
};

struct Fired {
    float operator()(float x) const { return x > 0.0f ? 1.0f : 0.0f; }
};

// Adds the sums of f(x) over all other dimensions of x, [before, length, after], to `along`, [length].
template <typename F>
void add_up(F f, const float* x, Count before, Count length, Count after, double* along) {
    if (after > 1) {
        for (Count row = 0; row < before; ++row)
            for (Count i = 0; i < length; ++i, x += after) {
                float sum = 0;
                for (Count j = 0; j < after; ++j) sum += f(x[j]);
                along[i] += sum;
            }
        return;
    }
    std::vector<float> part(length);
    float* sums = part.data();
    for (Count begin = 0; begin < before; begin += ROWS) {
        std::fill(part.begin(), part.end(), 0.0f);
        for (Count row = begin; row < std::min(before, begin + ROWS); ++row, x += length)
            for (Count i = 0; i < length; ++i) sums[i] += f(x[i]);
        for (Count i = 0; i < length; ++i) along[i] += sums[i];
    }
}

}  // namespace

extern "C" {

// How units lie in h, [before, units * block, after]: unit i has the i-th `block` of the second dimension. And what is
// counted: `examples`, where it is not below 0, and how often h is above 0 where `fired`, else |h|.
struct Summing {
    Count before, units, block, after, examples, fired;
};

// The number of entries of each unit, that of examples where it is not below 0, and of each unit the sum of |h|, or how
// often h is above 0, [1 or 2 + units]; all 0 where a sum is not finite.
void neoteny_sum(const Summing* how, const float* h, float* out) {
    const Count units = how->units, block = how->block;
    std::vector<double> along(units * block);
    if (how->fired)
        add_up(Fired(), h, how->before, units * block, how->after, along.data());
    else
        add_up(Magnitude(), h, how->before, units * block, how->after, along.data());
    float* sums = out;
    *sums++ = static_cast<float>(how->before * block * how->after);
    if (how->examples >= 0) *sums++ = static_cast<float>(how->examples);
    bool finite = true;
    for (Count unit = 0; unit < units; ++unit) {
        double sum = 0;
        for (Count j = 0; j < block; ++j) sum += along[unit * block + j];
        sums[unit] = static_cast<float>(sum);
        finite = finite && std::isfinite(sums[unit]);
    }
    if (!finite) std::fill(out, sums + units, 0.0f);
}

// A weight that reads units, [before, length, after]: unit i owns `block` positions of the second dimension, those
// listed from i * block on, or the i-th block.
struct Reading {
    const float* weight;
    Count before, length, after, block;
    const Count* positions;
};

// A layer's state, what was seen of it (none: a null pointer), and how many weights read it.
struct Judged {
    std::int32_t* age;
    float *share, *utility;
    const float *entries, *magnitudes;
    Count units, readings;
};

// Continual backpropagation's ages and averages (`ContinualBackprop._judge`) of all layers, utility `contribution`.
void neoteny_judge(Count layers, const Judged* layer, const Reading* reading, float kept, float added) {
    std::vector<double> along, sent;
    for (; layers > 0; --layers, ++layer) {
        for (Count unit = 0; unit < layer->units; ++unit) layer->age[unit] += 1;
        if (layer->magnitudes == nullptr) {
            reading += layer->readings;
            continue;
        }
        sent.assign(layer->units, 0.0);
        for (Count number = 0; number < layer->readings; ++number, ++reading) {
            along.assign(reading->length, 0.0);
            add_up(Magnitude(), reading->weight, reading->before, reading->length, reading->after, along.data());
            for (Count i = 0; i < layer->units * reading->block; ++i)
                sent[i / reading->block] += along[reading->positions ? reading->positions[i] : i];
        }
        for (Count unit = 0; unit < layer->units; ++unit) {
            const float mean = layer->magnitudes[unit] / *layer->entries;
            if (!std::isfinite(mean)) continue;
            layer->share[unit] = kept * layer->share[unit] + added;
            layer->utility[unit] = kept * layer->utility[unit] + added * (mean * static_cast<float>(sent[unit]));
        }
    }
}

// A layer's state: silences so far, when they are too long, how many of each length there were, [units, lengths], of
// those at most as long; and what was seen of it (none: a null pointer): entries, examples, how often units fired.
struct Silent {
    std::int32_t* age;
    const std::int32_t* threshold;
    std::int32_t* log;
    const float* seen;
    Count units;
};

// A step of `SelfNormalisedResets` at which no unit is reset, and no threshold estimated; 1, and nothing written, where
// a unit has been silent for too long.
Count neoteny_listen(Count layers, const Silent* first, const std::int32_t* length, Count lengths, Count longest,
                     Count at_threshold, Count checks, float least) {
    const auto fires = [&](const Silent& layer, Count unit) { return layer.seen[2 + unit] / layer.seen[0] > least; };
    for (const Silent* layer = first; checks && layer < first + layers; ++layer) {
        if (layer->seen == nullptr) continue;
        const std::int32_t examples = static_cast<std::int32_t>(layer->seen[1]);
        for (Count unit = 0; unit < layer->units; ++unit) {
            const std::int32_t age = fires(*layer, unit) ? 0 : layer->age[unit] + examples;
            if (age > layer->threshold[unit] || (at_threshold && age == layer->threshold[unit])) return 1;
        }
    }
    for (const Silent* layer = first; layer < first + layers; ++layer) {
        if (layer->seen == nullptr) continue;
        const std::int32_t examples = static_cast<std::int32_t>(layer->seen[1]);
        for (Count unit = 0; unit < layer->units; ++unit) {
            if (!fires(*layer, unit)) {
                layer->age[unit] += examples;
                continue;
            }
            const Count ended = std::min(Count(layer->age[unit]), longest);
            std::int32_t* log = layer->log + unit * lengths;
            for (Count i = lengths - 1; ended > 0 && i >= 0 && length[i] >= ended; --i) log[i] += 1;
            layer->age[unit] = 0;
        }
    }
    return 0;
}

// Updates since each unit of a layer was made new, without the last ones, and how many of the units may be young.
struct Ages {
    const std::int32_t* since;
    Count units, young;
};

// Units of a layer own positions of a dimension, 0 or 1, as in `Reading`.
struct Owner {
    Count layer, dim, block;
    const Count* positions;
};

// A parameter, [rows, columns, inner], with Adam's moments and its updates; without updates it is left alone. Adam takes
// factor * first / (s + floor) off, where s is the root of `second`, or `second` itself. At an age below `known`, factor
// is step_size * factors[age] and floor is epsilon * floors[age].
struct Moments {
    float* parameter;
    const float *first, *second, *updates;
    const float *factors, *floors;
    Count known, rows, columns, inner, owners, rooted;
    float step_size, epsilon;
    double log_beta1, log_beta2;
};

}  // extern "C"

namespace {

struct Scale {
    float factor, floor;
};

// U(t) - U(age), where U is what Adam takes off.
inline float change(float first, float second, bool rooted, Scale whole, float factor, float floor) {
    const float size = rooted ? std::sqrt(second) : second;
    const float crossed = whole.factor * floor - factor * whole.floor;
    const float over = (size * (whole.factor - factor) + crossed) * first;
    return over / ((size + (whole.floor + floor)) * size + whole.floor * floor);
}

// Corrects n entries of one age.
template <bool rooted>
void correct(float* p, const float* m, const float* v, Count n, Scale whole, Scale own) {
    for (Count i = 0; i < n; ++i) p[i] += change(m[i], v[i], rooted, whole, own.factor, own.floor);
}

// Corrects a row whose entries belong to a unit of age `own` and each to one of its column's age: the younger counts.
template <bool rooted>
void correct(float* p, const float* m, const float* v, Count n, Scale whole, std::int32_t own, Scale row,
             const std::int32_t* age, const float* factor, const float* floor) {
    const bool all = own != OLD;
    for (Count i = 0; i < n; ++i) {
        const bool column = age[i] < own;
        const float its_factor = column ? factor[i] : row.factor, its_floor = column ? floor[i] : row.floor;
        const float corrected = p[i] + change(m[i], v[i], rooted, whole, its_factor, its_floor);
        p[i] = column || all ? corrected : p[i];
    }
}

// The age of each position of a dimension, where it is that of a young unit; whether there is any.
bool lay(std::vector<std::int32_t>& age, Count length, Count dim, const Moments& moments, const Owner* owner,
         const Ages* ages, std::int32_t last, const std::vector<Count>& youngest) {
    bool any = false;
    age.assign(length, OLD);
    for (Count number = 0; number < moments.owners; ++number, ++owner) {
        if (owner->dim != dim) continue;
        const std::int32_t* since = ages[owner->layer].since;
        const Count below = std::min({youngest[owner->layer], Count(*moments.updates), moments.known});
        for (Count unit = 0; unit < ages[owner->layer].units; ++unit) {
            const std::int32_t now = since[unit] + last;
            if (now >= below) continue;
            any = true;
            for (Count j = unit * owner->block; j < (unit + 1) * owner->block; ++j) {
                std::int32_t& own = age[owner->positions ? owner->positions[j] : j];
                own = std::min(own, std::max(now, 1));
            }
        }
    }
    return any;
}

// What Adam makes of the moments of old units.
Scale of_all(const Moments& at) {
    const double first = -std::expm1(*at.updates * at.log_beta1);
    if (!at.rooted) return {static_cast<float>(at.step_size / first), at.epsilon * at.floors[1]};
    const double root = std::sqrt(-std::expm1(*at.updates * at.log_beta2));
    return {static_cast<float>(at.step_size * root / first), static_cast<float>(at.epsilon * root)};
}

template <bool rooted>
void correct_parameter(const Moments& at, const std::vector<std::int32_t>& row_age,
                       const std::vector<std::int32_t>& column_age, bool columns) {
    const Scale whole = of_all(at);
    const auto scale = [&](std::int32_t age) {
        return age == OLD ? whole : Scale{at.step_size * at.factors[age], at.epsilon * at.floors[age]};
    };
    std::vector<float> factor(at.columns), floor(at.columns);
    std::vector<Count> young;
    for (Count column = 0; columns && column < at.columns; ++column) {
        if (column_age[column] == OLD) continue;
        young.push_back(column);
        const Scale its = scale(column_age[column]);
        factor[column] = its.factor, floor[column] = its.floor;
    }
    const Count found = static_cast<Count>(young.size());
    const bool few = found * 4 < at.columns;
    std::vector<float> gathered(few ? 5 * found : 0);  // parameter, moments, factor and floor of the young columns
    std::vector<std::int32_t> age(few ? found : 0);
    float *its_p = gathered.data(), *its_m = its_p + found, *its_v = its_m + found, *its_factor = its_v + found,
          *its_floor = its_factor + found;
    for (Count k = 0; few && k < found; ++k)
        age[k] = column_age[young[k]], its_factor[k] = factor[young[k]], its_floor[k] = floor[young[k]];
    for (Count row = 0; row < at.rows; ++row) {
        const std::int32_t own = row_age[row];
        const Count begin = row * at.columns * at.inner;
        float* p = at.parameter + begin;
        const float *m = at.first + begin, *v = at.second + begin;
        if (own == OLD && at.inner > 1) {
            for (Count column : young) {
                const Count i = column * at.inner;
                correct<rooted>(p + i, m + i, v + i, at.inner, whole, scale(column_age[column]));
            }
        } else if (own == OLD && few) {
            for (Count k = 0; k < found; ++k)
                its_p[k] = p[young[k]], its_m[k] = m[young[k]], its_v[k] = v[young[k]];
            correct<rooted>(its_p, its_m, its_v, found, whole, OLD, whole, age.data(), its_factor, its_floor);
            for (Count k = 0; k < found; ++k) p[young[k]] = its_p[k];
        } else if (own != OLD && !columns) {
            correct<rooted>(p, m, v, at.columns * at.inner, whole, scale(own));
        } else if (at.inner > 1) {
            for (Count column = 0; column < at.columns; ++column) {
                const Count i = column * at.inner;
                correct<rooted>(p + i, m + i, v + i, at.inner, whole, scale(std::min(own, column_age[column])));
            }
        } else {
            correct<rooted>(p, m, v, at.columns, whole, own, scale(own), column_age.data(), factor.data(),
                            floor.data());
        }
    }
}

}  // namespace

extern "C" {

// Adam's bias correction starting anew (`AdamCorrection.correct`): entries of young units are corrected after a step.
// `last`: updates that the ages are yet without.
void neoteny_correct(Count layers, const Ages* ages, Count last, Count count, const Moments* moments, const Owner* owner) {
    std::vector<Count> youngest(layers);  // units are young below this age: so many of them, the youngest
    std::vector<std::int32_t> row_age, column_age;
    for (Count layer = 0; layer < layers; ++layer) {
        const Ages& of = ages[layer];
        if (of.young <= 0) continue;
        std::vector<std::int32_t> sorted(of.since, of.since + of.units);
        const auto oldest = sorted.begin() + (std::min(of.young, of.units) - 1);
        std::nth_element(sorted.begin(), oldest, sorted.end());
        youngest[layer] = Count(*oldest) + last + 1;
    }
    for (; count > 0; --count, owner += moments->owners, ++moments) {
        if (moments->updates == nullptr) continue;
        const bool rows = lay(row_age, moments->rows, 0, *moments, owner, ages, static_cast<std::int32_t>(last), youngest);
        const bool columns = lay(column_age, moments->columns, 1, *moments, owner, ages, static_cast<std::int32_t>(last), youngest);
        if (!rows && !columns) continue;
        if (moments->rooted)
            correct_parameter<true>(*moments, row_age, column_age, columns);
        else
            correct_parameter<false>(*moments, row_age, column_age, columns);
    }
}

}  // extern "C"
