// Images by their numbers, mirrored, shifted within their reflected surroundings, and scaled, in one pass.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

static inline int64_t reflected(int64_t place, int64_t side) {
  const int64_t inside = place < 0 ? -place : place;
  return inside < side ? inside : 2 * (side - 1) - inside;
}

// One row of a plane, shifted: its pixel x is what the reflected surroundings show at x + right.
static void shift(const uint8_t* row, int64_t right, int64_t width, uint8_t* out) {
  const int64_t low = std::max<int64_t>(0, -right), high = std::min(width, width - right);
  for (int64_t x = 0; x < low; x++) out[x] = row[reflected(x + right, width)];
  std::memcpy(out + low, row + low + right, high - low);
  for (int64_t x = high; x < width; x++) out[x] = row[reflected(x + right, width)];
}

// out[i] = (images[rows[i]], moved, - mean) / deviation for each colour; `mirrored` is null where no image is moved.
// Returns how many were made: fewer than `count` if a row is not one of the `held` images.
extern "C" int64_t neoteny_pick(const uint8_t* images, int64_t held, const int64_t* rows, int64_t count,
                                const bool* mirrored, const int64_t* down, const int64_t* right, int64_t colours,
                                int64_t height, int64_t width, const float* means, const float* deviations,
                                float* out) {
  const int64_t pixels = height * width;
  std::vector<uint8_t> space(pixels);
  uint8_t* moved = space.data();
  for (int64_t i = 0; i < count; i++) {
    if (rows[i] < 0 || rows[i] >= held) return i;
    if (i + 1 < count)  // the next image comes from another place of the memory
      for (int64_t byte = 0; byte < colours * pixels; byte += 64)
        __builtin_prefetch(images + rows[i + 1] * colours * pixels + byte);
    // A mirrored image is shifted the other way, its rows from below, and then read backwards: one long loop.
    const bool backwards = mirrored && mirrored[i];
    for (int64_t c = 0; c < colours; c++, out += pixels) {
      const uint8_t* plane = images + (rows[i] * colours + c) * pixels;
      if (mirrored) {
        for (int64_t y = 0; y < height; y++)
          shift(plane + reflected(y + down[i], height) * width, backwards ? -right[i] : right[i], width,
                moved + (backwards ? height - 1 - y : y) * width);
        plane = moved;
      }
      const float mean = means[c], deviation = deviations[c];
      if (backwards)
        for (int64_t p = 0; p < pixels; p++) out[p] = (float(plane[pixels - 1 - p]) - mean) / deviation;
      else
        for (int64_t p = 0; p < pixels; p++) out[p] = (float(plane[p]) - mean) / deviation;
    }
  }
  return count;
}
