// What the native kernels share: AVX512 with bfloat16, sixteen numbers at a time.
#pragma once

#include <immintrin.h>

#include <cstdint>

using bf16 = uint16_t;

constexpr float LOG2E = 1.44269504088896340736f;

inline __m512 load(const bf16* at) {
  const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

inline void store(bf16* at, __m512 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), (__m256i)_mm512_cvtneps_pbh(x));
}

// The nearest numbers that bfloat16 has.
inline __m512 rounded(__m512 x) {
  const __m512i wide = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

// 2^x, to 2e-7 of itself.
inline __m512 exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 part = _mm512_sub_ps(x, whole);
  __m512 y = _mm512_set1_ps(0.001327647129073739f);
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.009675540961325169f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.05550713092088699f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.24022120237350464f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(0.6931469440460205f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(y, whole);
}
