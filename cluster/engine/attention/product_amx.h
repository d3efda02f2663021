// Products of bfloat16 tiles by AMX: see tiled.cpp.
#pragma once

#include "simd.h"

// A thread's right to its tiles, as long as this lives.
class Products {
 public:
  Products() { _tile_loadconfig(&config_); }
  ~Products() { _tile_release(); }

  // c (+)= a b for 32 rows and 32 columns; b lies in pairs of tiles, one pair for 32 rows of b.
  static void multiply(const bf16* a, int a_stride, const bf16* b, int b_stride, int steps,
                       float* c, int c_stride, bool add, int /* n_rows: all are computed */) {
    const size_t bytes = sizeof(float) * c_stride, a_bytes = sizeof(bf16) * a_stride;
    if (add) {
      _tile_loadd(0, c, bytes);
      _tile_loadd(1, c + 16, bytes);
      _tile_loadd(2, c + 16 * c_stride, bytes);
      _tile_loadd(3, c + 16 * c_stride + 16, bytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    for (int i = 0; i < steps; i++) {
      _tile_loadd(4, a + 32 * i, a_bytes);
      _tile_loadd(6, b + i * b_stride, 64);
      _tile_loadd(7, b + i * b_stride + TILE, 64);
      _tile_loadd(5, a + 16 * a_stride + 32 * i, a_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + 16, bytes);
    _tile_stored(2, c + 16 * c_stride, bytes);
    _tile_stored(3, c + 16 * c_stride + 16, bytes);
  }

 private:
  struct Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  const Config config_;
};
