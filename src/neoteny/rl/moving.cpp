// Images of bytes moved by whole pixels, their border repeated, from planes to channels last.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// Pixel x of a row shows what lies at x + right, or the nearest pixel that there is.
static void shift(const uint8_t* row, int64_t right, int64_t width, uint8_t* out) {
  const int64_t low = std::min(width, std::max<int64_t>(0, -right));
  const int64_t high = std::max(low, std::min(width, width - right));
  std::memset(out, row[0], low);
  std::memcpy(out + low, row + low + right, high - low);
  std::memset(out + high, row[width - 1], width - high);
}

extern "C" void neoteny_move(const uint8_t* images, const int64_t* offsets, int64_t count, int64_t channels,
                             int64_t height, int64_t width, uint8_t* out) {
  std::vector<uint8_t> space(channels * width);
  uint8_t* rows = space.data();
  for (int64_t i = 0; i < count; i++, images += channels * height * width) {
    const int64_t down = offsets[2 * i], right = offsets[2 * i + 1];
    for (int64_t y = 0; y < height; y++, out += width * channels) {
      const int64_t from = std::min(std::max<int64_t>(y + down, 0), height - 1);
      for (int64_t c = 0; c < channels; c++) shift(images + (c * height + from) * width, right, width, rows + c * width);
      if (channels == 4)  // the usual stack: a loop that the compiler makes vectors of
        for (int64_t x = 0; x < width; x++)
          for (int64_t c = 0; c < 4; c++) out[4 * x + c] = rows[c * width + x];
      else
        for (int64_t x = 0; x < width; x++)
          for (int64_t c = 0; c < channels; c++) out[channels * x + c] = rows[c * width + x];
    }
  }
}
