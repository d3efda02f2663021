// Products of bfloat16 tiles by AVX512-BF16, where there is no AMX: see tiled.cpp.
#pragma once

#include <cstring>

#include "simd.h"

class Products {
 public:
  // c (+)= a b for 32 rows and 32 columns; b lies in pairs of tiles, one pair for 32 rows of b.
  // Only the first n_rows are needed. A row's sums are in the order of b's rows.
  static void multiply(const bf16* a, int a_stride, const bf16* b, int b_stride, int steps,
                       float* c, int c_stride, bool add, int n_rows) {
    for (int row = 0; row < n_rows; row += STRIP)
      strip(a + row * a_stride, a_stride, b, b_stride, steps, c + row * c_stride, c_stride, add);
  }

 private:
  static constexpr int STRIP = 8;  // rows whose sums stay in registers

  static void strip(const bf16* a, int a_stride, const bf16* b, int b_stride, int steps, float* c,
                    int c_stride, bool add) {
    __m512 left[STRIP], right[STRIP];
    for (int r = 0; r < STRIP; r++) {
      left[r] = add ? _mm512_load_ps(c + r * c_stride) : _mm512_setzero_ps();
      right[r] = add ? _mm512_load_ps(c + r * c_stride + 16) : _mm512_setzero_ps();
    }
    for (int i = 0; i < steps; i++)
      for (int pair = 0; pair < 16; pair++) {
        const bf16* at = b + i * b_stride + 32 * pair;
        const __m512bh first = (__m512bh)_mm512_load_si512(at);
        const __m512bh second = (__m512bh)_mm512_load_si512(at + TILE);
        for (int r = 0; r < STRIP; r++) {
          int32_t both;
          std::memcpy(&both, a + r * a_stride + 32 * i + 2 * pair, sizeof both);
          const __m512bh spread = (__m512bh)_mm512_set1_epi32(both);
          left[r] = _mm512_dpbf16_ps(left[r], spread, first);
          right[r] = _mm512_dpbf16_ps(right[r], spread, second);
        }
      }
    for (int r = 0; r < STRIP; r++) {
      _mm512_store_ps(c + r * c_stride, left[r]);
      _mm512_store_ps(c + r * c_stride + 16, right[r]);
    }
  }
};
