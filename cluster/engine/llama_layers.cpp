// What a Llama-like layer does beside its matmuls and its attention, in bfloat16 on a CPU.
//
// One pass over memory each. A row is computed by one thread, by the same steps whatever the other
// rows are. Needs AVX512-BF16. Sizes are multiples of 32.

#include <cmath>

#include "simd.h"

namespace {

// Normalised to a root mean square of 1, rounded, times `weight`: the order of transformers.
void rms_norm(const bf16* x, const bf16* weight, int width, float eps, bf16* out) {
  __m512 sum = _mm512_setzero_ps();
  for (int i = 0; i < width; i += 16) {
    const __m512 part = load(x + i);
    sum = _mm512_fmadd_ps(part, part, sum);
  }
  const float mean = _mm512_reduce_add_ps(sum) / static_cast<float>(width);
  const __m512 factor = _mm512_set1_ps(1.0f / std::sqrt(mean + eps));
  for (int i = 0; i < width; i += 16)
    store(out + i,
          _mm512_mul_ps(load(weight + i), rounded(_mm512_mul_ps(load(x + i), factor))));
}

void rotate(bf16* head, const bf16* cosine, const bf16* sine, int size) {
  for (int i = 0; i < size / 2; i += 16) {
    bf16 *low = head + i, *high = low + size / 2;
    const __m512 a = load(low), b = load(high);
    const bf16 *c = cosine + i, *s = sine + i;
    store(low, _mm512_fnmadd_ps(b, load(s), _mm512_mul_ps(a, load(c))));
    store(high, _mm512_fmadd_ps(a, load(s + size / 2), _mm512_mul_ps(b, load(c + size / 2))));
  }
}

}  // namespace

extern "C" {

// x [rows, width] += delta, where there is one; out is its norm.
void add_norm(bf16* x, const bf16* delta, const bf16* weight, int rows, int width, float eps,
              bf16* out, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++) {
    bf16* at = x + row * width;
    if (delta)
      for (int i = 0; i < width; i += 16)
        store(at + i, _mm512_add_ps(load(at + i), load(delta + row * width + i)));
    rms_norm(at, weight, width, eps, out + row * width);
  }
}

// In place: x [rows, heads + others, size] has its first `heads` rotated by cosine and sine
// [rows, size], the first `queries` of them normed before by query_weight, the rest by key_weight,
// where there are such.
void rotate_heads(bf16* x, const bf16* cosine, const bf16* sine, const bf16* query_weight,
                  const bf16* key_weight, int rows, int queries, int heads, int others, int size,
                  float eps, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++)
    for (int head = 0; head < heads; head++) {
      bf16* at = x + (row * (heads + others) + head) * size;
      const bf16* weight = head < queries ? query_weight : key_weight;
      if (weight) rms_norm(at, weight, size, eps, at);
      rotate(at, cosine + row * size, sine + row * size, size);
    }
}

// out [rows, width] = silu(gate) * up of gate_up [rows, 2 * width].
void silu_mul(const bf16* gate_up, int rows, int width, bf16* out, int threads) {
  const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++)
    for (int i = 0; i < width; i += 16) {
      const bf16* at = gate_up + 2 * row * width + i;
      const __m512 gate = load(at), up = load(at + width);
      const __m512 power = _mm512_mul_ps(gate, _mm512_set1_ps(-LOG2E));
      const __m512 below = _mm512_add_ps(one, exp2(_mm512_min_ps(power, _mm512_set1_ps(126.0f))));
      __m512 inverse = _mm512_rcp14_ps(below);
      inverse = _mm512_mul_ps(inverse, _mm512_fnmadd_ps(below, inverse, two));  // Newton's step
      store(out + row * width + i, _mm512_mul_ps(_mm512_mul_ps(gate, inverse), up));
    }
}

}  // extern "C"
