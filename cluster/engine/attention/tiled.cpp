// Attention over the segments of a batch, in bfloat16 tiles on a CPU.
//
// Flash attention (Dao, 2023: arXiv 2307.08691) with float32 scores, softmax and sums. The query
// heads of a key head lie in one block of rows, and a segment's keys and values are laid out once
// for all segments that see them. A row's arithmetic follows its own context alone: key blocks
// count from the start of each run, and keys that a row does not see add nothing to it.
//
// Needs AVX512-BF16; products of tiles are AMX's where the CPU has it. Shape legend: see tiled.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "simd.h"

constexpr int TILE = 16 * 32;  // numbers of a tile of bfloat16 pairs: 16 x 16 pairs

#ifdef __AMX_BF16__
#include "product_amx.h"
#else
#include "product_avx512.h"
#endif

namespace {

constexpr int ROWS = 32;         // query rows of a block
constexpr int SPAN = 32;         // keys that are laid out together
constexpr int KEYS = 128;        // keys of a softmax step
constexpr int MAX_SIZE = 256;    // of a head

// The first n of the 16 lanes that start at lane `from`.
inline __mmask16 lanes(int n, int from) {
  return static_cast<__mmask16>((1u << std::clamp(n - from, 0, 16)) - 1);
}

struct Block {
  alignas(64) bf16 query[ROWS * MAX_SIZE];
  alignas(64) float scores[ROWS * KEYS];
  alignas(64) bf16 weights[ROWS * KEYS];
  alignas(64) float out[ROWS * MAX_SIZE];
  float peak[ROWS];  // largest score so far, in powers of two
  float total[ROWS];
};

// One row's scores become weights; what it has gathered so far is brought to the same peak.
void softmax(Block& block, int row, int seen, int width, float scale, int size) {
  const float* scores = block.scores + row * KEYS;
  bf16* weights = block.weights + row * KEYS;
  if (seen == 0) {
    std::memset(weights, 0, sizeof(bf16) * width);
    return;
  }
  __m512 most = _mm512_set1_ps(-INFINITY);
  for (int i = 0; i < seen; i += 16)
    most = _mm512_mask_max_ps(most, lanes(seen, i), most, _mm512_load_ps(scores + i));
  const float peak = _mm512_reduce_max_ps(most) * scale, before = block.peak[row];
  if (peak > before) {
    block.peak[row] = peak;
    if (before > -INFINITY) {
      const __m512 factor = exp2(_mm512_set1_ps(before - peak));
      block.total[row] *= _mm512_cvtss_f32(factor);
      for (float* out = block.out + row * size; out < block.out + (row + 1) * size; out += 16)
        _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), factor));
    }
  }
  const __m512 top = _mm512_set1_ps(block.peak[row]), factor = _mm512_set1_ps(scale);
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < width; i += 32) {
    const __m512 low = _mm512_maskz_mov_ps(
        lanes(seen, i), exp2(_mm512_fmsub_ps(_mm512_load_ps(scores + i), factor, top)));
    const __m512 high = _mm512_maskz_mov_ps(
        lanes(seen, i + 16), exp2(_mm512_fmsub_ps(_mm512_load_ps(scores + i + 16), factor, top)));
    sum = _mm512_add_ps(sum, _mm512_add_ps(low, high));
    _mm512_store_si512(weights + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
  block.total[row] += _mm512_reduce_add_ps(sum);
}

// Laid out for products: 16 keys side by side, their numbers in pairs down the tile.
void lay_out_keys(const bf16* key, int64_t stride, int n, int size, bf16* to) {
  const __m512i step = _mm512_mullo_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
      _mm512_set1_epi32(static_cast<int>(stride)));
  for (int half = 0; half < 2; half++)
    for (int pair = 0; pair < size / 2; pair++) {
      const bf16* from = key + 16 * half * stride + 2 * pair;
      const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(),
                                                        lanes(n, 16 * half), step, from, 2);
      _mm512_store_si512(to + (pair / 16 * 2 + half) * TILE + pair % 16 * 32, words);
    }
}

// Numbers of a value side by side, keys in pairs down the tile.
void lay_out_values(const bf16* value, int64_t stride, int n, int size, bf16* to) {
  for (int pair = 0; pair < 16; pair++)
    for (int i = 0; i < size; i += 16) {
      __m512i both = _mm512_setzero_si512();
      for (int odd = 0; odd < 2; odd++)
        if (2 * pair + odd < n) {
          const bf16* from = value + (2 * pair + odd) * stride + i;
          const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
          both = _mm512_or_si512(both, _mm512_slli_epi32(wide, 16 * odd));
        }
      _mm512_store_si512(to + i / 16 * TILE + 32 * pair, both);
    }
}

}  // namespace

extern "C" {

struct Strided {
  const bf16* at;
  int64_t head, token;  // strides, in numbers
};

struct Segment {
  int32_t start, end;      // among the keys
  int32_t span;            // its first among all segments' spans of SPAN keys
  int32_t ancestors, n_ancestors;  // in the list of all ancestors
};

struct Span {
  int32_t segment, first;  // keys from `first` on, counted from the segment's start
};

struct Work {
  int32_t segment, row, n_rows;  // row: token * group + head of the group
};

struct Shape {
  int32_t n_kv, group, size, n_cached, n_spans, n_work, threads;
  float scale;
};

// out [T, n_kv * group, size]; keys, values: n_kv * n_spans * SPAN * size numbers of work space.
void attend(const Shape* shape, const Strided* query, const Strided* key, const Strided* value,
            const Segment* segments, const int32_t* ancestors, const Span* spans,
            const Work* works, bf16* keys, bf16* values, bf16* out) {
  const int size = shape->size, group = shape->group, n_kv = shape->n_kv;
  const int64_t area = SPAN * size;
  const float scale = shape->scale * LOG2E;

  const auto one_block = [&](const Work& work, int head, Block& block) {
    const Segment& own = segments[work.segment];
    const int first = own.start - shape->n_cached;  // row of the segment's first token
    for (int r = 0; r < ROWS; r++) {
      bf16* to = block.query + r * size;
      if (r < work.n_rows) {
        const int token = first + (work.row + r) / group, at = head * group + (work.row + r) % group;
        std::memcpy(to, query->at + at * query->head + token * query->token, sizeof(bf16) * size);
      } else {
        std::memset(to, 0, sizeof(bf16) * size);
      }
      block.peak[r] = -INFINITY;
      block.total[r] = 0;
    }
    std::memset(block.out, 0, sizeof(float) * ROWS * size);
    const int visible = (work.row + work.n_rows - 1) / group + 1;  // of its own keys
    for (int i = 0; i <= own.n_ancestors; i++) {
      const bool last = i == own.n_ancestors;
      const Segment& run = last ? own : segments[ancestors[own.ancestors + i]];
      const int length = last ? visible : run.end - run.start;
      const int64_t base = (static_cast<int64_t>(head) * shape->n_spans + run.span) * area;
      for (int from = 0; from < length; from += KEYS) {
        const int width = std::min(KEYS, (length - from + SPAN - 1) / SPAN * SPAN);
        const int64_t here = base + from / SPAN * area;
        for (int at = 0; at < width; at += SPAN)
          Products::multiply(block.query, size, keys + here + at / SPAN * area, 2 * TILE, size / 32,
                   block.scores + at, KEYS, false, work.n_rows);
        for (int r = 0; r < work.n_rows; r++) {
          const int limit = last ? (work.row + r) / group + 1 : length;
          softmax(block, r, std::clamp(limit - from, 0, width), width, scale, size);
        }
        for (int d = 0; d < size; d += 32)
          Products::multiply(block.weights, KEYS, values + here + d / 16 * TILE, static_cast<int>(area),
                   width / SPAN, block.out + d, size, true, work.n_rows);
      }
    }
    for (int r = 0; r < work.n_rows; r++) {
      const int64_t token = first + (work.row + r) / group;
      bf16* to = out + ((token * n_kv + head) * group + (work.row + r) % group) * size;
      const __m512 factor = _mm512_set1_ps(1.0f / block.total[r]);
      for (int d = 0; d < size; d += 16)
        store(to + d, _mm512_mul_ps(_mm512_load_ps(block.out + r * size + d), factor));
    }
  };

#pragma omp parallel num_threads(shape->threads)
  {
    const Products products;
    Block block;
    std::memset(block.weights, 0, sizeof block.weights);  // of rows that have no query
#pragma omp for collapse(2) schedule(static)
    for (int head = 0; head < n_kv; head++)
      for (int i = 0; i < shape->n_spans; i++) {
        const Segment& run = segments[spans[i].segment];
        const int64_t token = run.start + spans[i].first;
        const int n = std::min(SPAN, run.end - run.start - spans[i].first);
        const int64_t to = (static_cast<int64_t>(head) * shape->n_spans + i) * area;
        lay_out_keys(key->at + head * key->head + token * key->token, key->token, n, size,
                     keys + to);
        lay_out_values(value->at + head * value->head + token * value->token, value->token, n,
                       size, values + to);
      }
#pragma omp for collapse(2) schedule(dynamic, 2)
    for (int i = 0; i < shape->n_work; i++)
      for (int head = 0; head < n_kv; head++) one_block(works[i], head, block);
  }
}

}  // extern "C"
