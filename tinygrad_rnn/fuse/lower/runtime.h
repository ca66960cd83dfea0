/* What generated loops share (lower/c.py). DOUBLE chooses the numbers: all of a loop are of one type.

   Everything is exact: no rule of -ffast-math holds here. A sum is never split between threads, so results do
   not depend on how many there are. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#define PANEL 4 /* vectors that a panel of a packed matrix is wide */
#elif defined(__AVX2__)
#define BYTES 32
#define PANEL 2
#else
#define BYTES 16
#define PANEL 2
#endif
#ifdef DOUBLE
typedef double T;
typedef int64_t Bits;
#else
typedef float T;
typedef int32_t Bits;
#endif
typedef ptrdiff_t Index; /* a long is half as wide on Windows */
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif
#define T(x) ((T)(x))
#define LANES ((Index)(BYTES / sizeof(T)))
#define INLINE static inline __attribute__((always_inline))
typedef T Vector __attribute__((vector_size(BYTES)));

/* ---------------------------------------------------------------- functions of a number

   exp: x = n log 2 + f, a polynomial of f, times 2^n in two halves, so that subnormal results are right.
   tanh: a polynomial near 0, elsewhere by exp. Coefficients: Moshier, Cephes (1984 to 2000), expf.c, tanhf.c,
   exp.c, tanh.c. Errors below 2 units in the last place. NaN stays NaN: comparisons with it are false. */

#ifdef DOUBLE
#define OF_LIBRARY(name) name
#else
#define OF_LIBRARY(name) name##f
#endif
/* a b + c, rounded once where the processor does so: said where it is meant, so that every loop, wide or not, and
   whatever the compiler makes of it, computes the same. */
#ifdef __FP_FAST_FMA
INLINE T plus_product(T c, T a, T b) { return OF_LIBRARY(__builtin_fma)(a, b, c); }
#else
INLINE T plus_product(T c, T a, T b) { return a * b + c; }
#endif
#define HORNER(x, c, lower) plus_product(lower, c, x)

INLINE T power_of_2(Bits n) {
  union { Bits i; T x; } u;
#ifdef DOUBLE
  u.i = (n + 1023) << 52;
#else
  u.i = (n + 127) << 23;
#endif
  return u.x;
}

INLINE T exp_(T x) {
#ifdef DOUBLE
  const T most = 709.79, least = -745.14, shift = 6755399441055744.0, ln2_high = 6.93145751953125e-1,
          ln2_low = 1.42860682030941723212e-6;
#else
  const T most = 88.73f, least = -103.98f, shift = 12582912.0f, ln2_high = 0.693359375f,
          ln2_low = -2.12194440e-4f;
#endif
  x = x > most ? most : x;
  x = x < least ? least : x;
  union { T x; Bits i; } u = {plus_product(shift, x, T(1.44269504088896340736))}, s = {shift};
  const T n = u.x - shift;
  const Bits whole = u.i - s.i, half = whole >> 1;
  const T f = plus_product(plus_product(x, n, -ln2_high), n, -ln2_low), z = f * f;
#ifdef DOUBLE
  const T p = f * HORNER(z, HORNER(z, 1.26177193074810590878e-4, 3.02994407707441961300e-2),
                         9.99999999999999999910e-1);
  const T q = HORNER(z, HORNER(z, HORNER(z, 3.00198505138664455042e-6, 2.52448340349684104192e-3),
                               2.27265548208155028766e-1), 2.00000000000000000005e0);
  const T y = 1 + 2 * (p / (q - p));
#else
  T p = HORNER(f, 1.9875691500e-4f, 1.3981999507e-3f);
  p = HORNER(f, p, 8.3334519073e-3f);
  p = HORNER(f, p, 4.1665795894e-2f);
  p = HORNER(f, p, 1.6666665459e-1f);
  p = HORNER(f, p, 5.0000001201e-1f);
  const T y = plus_product(f, p, z) + 1;
#endif
  return y * power_of_2(half) * power_of_2(whole - half);
}

INLINE T absolute(T x) { return OF_LIBRARY(__builtin_fabs)(x); }

INLINE T tanh_(T x) {
  const T a = absolute(x), z = x * x, e = exp_(2 * (a > 20 ? T(20) : a));
#ifdef DOUBLE
  const T p = HORNER(z, HORNER(z, -9.64399179425052238628e-1, -9.92877231001918586564e1),
                     -1.61468768441708447952e3);
  const T q = HORNER(z, HORNER(z, z + 1.12811678491632931402e2, 2.23548839060100448583e3),
                     4.84406305325125486048e3);
  const T near = plus_product(x, x * z, p / q);
#else
  T p = HORNER(z, -5.70498872745e-3f, 2.06390887954e-2f);
  p = HORNER(z, p, -5.37397155531e-2f);
  p = HORNER(z, p, 1.33314422036e-1f);
  p = HORNER(z, p, -3.33332819422e-1f);
  const T near = plus_product(x, p * z, x);
#endif
  const T far = 1 - 2 / (e + 1);
  return OF_LIBRARY(__builtin_copysign)(a < T(0.625) ? near : far, x); /* of zeros, too */
}

INLINE T infinite(void) { return (T)INFINITY; }

INLINE T number(Bits n) { /* as few processors convert 64 bits at a time */
#ifdef DOUBLE
  union { T x; Bits i; } u = {6755399441055744.0};
  u.i += n;
  return u.x - 6755399441055744.0;
#else
  return T(n);
#endif
}

/* log: x = 2^e (1 + f) with 1 + f from sqrt(1/2) to sqrt(2), f - f^2 / 2 + f^3 times a polynomial (or a quotient of
   two), and e log 2 in two parts. Moshier, Cephes, logf.c and log.c. */
INLINE T log_(T x) {
#ifdef DOUBLE
  const T least_normal = 2.2250738585072014e-308, up = 18014398509481984.0, ln2_high = 0.693359375,
          ln2_low = -2.121944400546905827679e-4;
  const Bits bias = 1022, lift = 54, mantissa = 0xfffffffffffff, half = (Bits)1022 << 52;
  const int shift = 52;
#else
  const T least_normal = 1.17549435e-38f, up = 33554432.0f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  const Bits bias = 126, lift = 25, mantissa = 0x7fffff, half = (Bits)126 << 23;
  const int shift = 23;
#endif
  const int is_small = x < least_normal;
  union { T x; Bits i; } u = {is_small ? x * up : x};
  Bits whole = (u.i >> shift) - bias - (is_small ? lift : 0);
  u.i = (u.i & mantissa) | half;
  const int is_low = u.x < T(0.70710678118654752440);
  const T e = number(whole - (is_low ? 1 : 0)), f = (is_low ? u.x + u.x : u.x) - 1, z = f * f;
#ifdef DOUBLE
  T p = HORNER(f, 1.01875663804580931796e-4, 4.97494994976747001425e-1);
  p = HORNER(f, HORNER(f, p, 4.70579119878881725854e0), 1.44989225341610930846e1);
  p = HORNER(f, HORNER(f, p, 1.79368678507819816313e1), 7.70838733755885391666e0);
  T q = HORNER(f, f + 1.12873587189167450590e1, 4.52279145837532221105e1);
  q = HORNER(f, HORNER(f, q, 8.29875266912776603211e1), 7.11544750618563894466e1);
  q = HORNER(f, q, 2.31251620126765340583e1);
  T y = f * (z * p / q);
#else
  T p = HORNER(f, 7.0376836292e-2f, -1.1514610310e-1f);
  p = HORNER(f, HORNER(f, p, 1.1676998740e-1f), -1.2420140846e-1f);
  p = HORNER(f, HORNER(f, p, 1.4249322787e-1f), -1.6668057665e-1f);
  p = HORNER(f, HORNER(f, p, 2.0000714765e-1f), -2.4999993993e-1f);
  p = HORNER(f, p, 3.3333331174e-1f);
  T y = f * (z * p);
#endif
  y = plus_product(plus_product(y, e, ln2_low), z, T(-0.5));
  y = plus_product(f + y, e, ln2_high);
  y = x < infinite() ? y : x; /* NaN, too */
  return x > 0 ? y : x < 0 ? infinite() - infinite() : x == 0 ? -infinite() : x;
}

/* log(1 + x), with what was lost in the sum made good. */
INLINE T log1p_(T x) {
  const T u = 1 + x, lost = (x - (u - 1)) / u;
  const T y = log_(u) + (u > 0 && u < infinite() ? lost : T(0));
  return u == 1 ? x : y;
}
INLINE T expm1_(T x) { return OF_LIBRARY(expm1)(x); }
INLINE T sqrt_(T x) { return OF_LIBRARY(__builtin_sqrt)(x); }
INLINE T floor_(T x) { return OF_LIBRARY(__builtin_floor)(x); }
INLINE T rint_(T x) { return OF_LIBRARY(__builtin_rint)(x); }
INLINE T sin_(T x) { return OF_LIBRARY(sin)(x); }
INLINE T cos_(T x) { return OF_LIBRARY(cos)(x); }
INLINE T erf_(T x) { return OF_LIBRARY(erf)(x); }
INLINE T pow_(T x, T y) { return OF_LIBRARY(pow)(x, y); }
INLINE T fmod_(T x, T y) { return OF_LIBRARY(fmod)(x, y); }
#define exp exp_
#define tanh tanh_
#define log log_
#define log1p log1p_
#define expm1 expm1_
#define sqrt sqrt_
#define floor floor_
#define rint rint_
#define sin sin_
#define cos cos_
#define erf erf_
#define pow pow_
#define fmod fmod_
#define fabs absolute

/* ---------------------------------------------------------------- products

   A matrix that is multiplied at every step is packed once: panels of PANEL vectors of columns, in each the
   rows one behind the other, the last panel as narrow as it needs. */

static Index packed_size(Index k, Index m) { return k * ((m + LANES - 1) / LANES) * LANES; }

static void pack(const T* w, Index down, Index right, Index k, Index m, T* out) {
  for (Index j = 0; j < m; j += PANEL * LANES) {
    const Index here = m - j < PANEL * LANES ? m - j : PANEL * LANES, wide = (here + LANES - 1) / LANES * LANES;
    for (Index i = 0; i < k; i++, out += wide)
      for (Index c = 0; c < wide; c++) out[c] = c < here ? w[i * down + (j + c) * right] : 0;
  }
}

INLINE Vector load(const T* p) {
  Vector v;
  memcpy(&v, p, sizeof v);
  return v;
}

#if defined(__AVX512F__)
#include <immintrin.h>
#ifdef DOUBLE
#define ADD_PRODUCT(c, a, b) (Vector)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#else
#define ADD_PRODUCT(c, a, b) (Vector)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#endif
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#ifdef DOUBLE
#define ADD_PRODUCT(c, a, b) (Vector)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#else
#define ADD_PRODUCT(c, a, b) (Vector)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#endif
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#ifdef DOUBLE
#define ADD_PRODUCT(c, a, b) (Vector)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#else
#define ADD_PRODUCT(c, a, b) (Vector)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#endif
#else
#define ADD_PRODUCT(c, a, b) ((c) + (a) * (b))
#endif

/* The first `count` numbers of a vector, and those at `add`. */
INLINE void store(T* to, Vector x, const T* add, Index count) {
  if (count == LANES) {
    if (add) x += load(add);
    memcpy(to, &x, sizeof x);
    return;
  }
  for (Index c = 0; c < count; c++) to[c] = add ? x[c] + add[c] : x[c];
}

#define ROWS 6 /* of a tile */
#define UNROLL _Pragma("GCC unroll 8")

/* `rows` rows by `n` vectors of columns, of which the last has `end` that count. */
INLINE void tile(const T* a, Index down, const T* b, Index k, T* y, Index below, const T* add, Index add_below,
                 const int rows, const int n, Index end) {
  Vector sum[ROWS][PANEL];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < n; v++) sum[r][v] = (Vector){};
  for (Index i = 0; i < k; i++, b += n * LANES) {
    Vector w[PANEL];
    UNROLL for (int v = 0; v < n; v++) w[v] = load(b + v * LANES);
    UNROLL for (int r = 0; r < rows; r++) {
      const Vector x = (Vector){} + a[r * down + i];
      UNROLL for (int v = 0; v < n; v++) sum[r][v] = ADD_PRODUCT(sum[r][v], x, w[v]);
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < n; v++)
      store(y + r * below + v * LANES, sum[r][v], add ? add + r * add_below + v * LANES : 0, v == n - 1 ? end : LANES);
}

#define TILES(n)                                                                                              \
  for (Index r = 0; r < rows; r += ROWS) {                                                                     \
    const T *from = a + r * down, *plus = add ? add + r * add_below : 0;                                      \
    T* to = y + r * below;                                                                                    \
    switch (rows - r) {                                                                                       \
      case 1: tile(from, down, b, k, to, below, plus, add_below, 1, n, end); break;                           \
      case 2: tile(from, down, b, k, to, below, plus, add_below, 2, n, end); break;                           \
      case 3: tile(from, down, b, k, to, below, plus, add_below, 3, n, end); break;                           \
      case 4: tile(from, down, b, k, to, below, plus, add_below, 4, n, end); break;                           \
      case 5: tile(from, down, b, k, to, below, plus, add_below, 5, n, end); break;                           \
      default: tile(from, down, b, k, to, below, plus, add_below, 6, n, end);                                 \
    }                                                                                                         \
  }

/* One or two rows by several panels beside each other: so many sums that none waits for the one before. */
INLINE void few_rows(const T* a, Index down, const T* b, Index k, T* y, Index below, const T* add, Index add_below,
                     const int rows, const int panels) {
  const Index apart = k * PANEL * LANES; /* from panel to panel */
  Vector sum[2][8];
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < panels * PANEL; v++) sum[r][v] = (Vector){};
  for (Index i = 0; i < k; i++, b += PANEL * LANES) {
    UNROLL for (int v = 0; v < panels * PANEL; v++) {
      const Vector w = load(b + v / PANEL * apart + v % PANEL * LANES);
      UNROLL for (int r = 0; r < rows; r++)
        sum[r][v] = ADD_PRODUCT(sum[r][v], ((Vector){} + a[r * down + i]), w);
    }
  }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int v = 0; v < panels * PANEL; v++)
      store(y + r * below + v * LANES, sum[r][v], add ? add + r * add_below + v * LANES : 0, LANES);
}

/* y = a @ b, or that and `add`: a (rows, k), y and add (rows, m), rows of each `down`, `below` and `add_below`
   apart, b packed. */
static void product(const T* a, Index down, const T* b, Index k, Index m, T* y, Index below, const T* add,
                    Index add_below, Index rows) {
  Index j = 0;
#define WIDE(rows, panels)                                                       \
  for (; m - j >= panels * PANEL * LANES; j += panels * PANEL * LANES) {         \
    few_rows(a, down, b, k, y, below, add, add_below, rows, panels);             \
    b += k * panels * PANEL * LANES, y += panels * PANEL * LANES;                \
    add = add ? add + panels * PANEL * LANES : 0;                                \
  }
  if (rows == 1) {
    WIDE(1, (8 / PANEL))
    WIDE(1, (4 / PANEL))
  } else if (rows == 2) {
    WIDE(2, (4 / PANEL))
  }
  for (; j < m; j += PANEL * LANES) {
    const Index here = m - j < PANEL * LANES ? m - j : PANEL * LANES, n = (here + LANES - 1) / LANES;
    const Index end = here - (n - 1) * LANES;
    switch (n) {
      case 1: TILES(1) break;
      case 2: TILES(2) break;
#if PANEL > 2
      case 3: TILES(3) break;
      default: TILES(4)
#endif
    }
    b += k * n * LANES, y += here, add = add ? add + here : 0;
  }
}

/* ---------------------------------------------------------------- a run of a loop, as pool.c knows it, too */

typedef struct {
  void** memory;
  const Index *step, *row; /* how far apart its steps and its rows are, in elements */
  Index n, first, by, n_steps, done;
} Call;
