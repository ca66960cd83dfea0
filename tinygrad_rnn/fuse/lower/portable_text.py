"""The text of an exported step: the functions that it calls, its header and its C file."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from .functions import HELPERS
from .portable import PANEL, Portable, Table

__all__ = ["Named", "c_text", "header_text"]


class Named(NamedTuple):
    """What an exported step is called, the file of its header, and what is said of it.

    `inputs`: the numbers in x, or how many tokens there are; `states`: of each state what it is called, and
    the values that it begins with.
    """

    name: str
    header: str
    inputs: int
    is_token: bool
    outputs: int
    states: Sequence[tuple[str, Sequence[float]]]
    says: Sequence[str]


MATH = ("log", "log1p", "expm1", "sqrt", "floor", "rint", "sin", "cos", "erf", "pow", "fmod", "fabs")
REPLACEABLE = ("EXP", "TANH", "SIGMOID")

# The polynomial is fitted: e to the power r to 4e-9 for |r| up to log(2) / 2. There are no branches, and what
# chooses works on bits, so that compilers make vectors of loops; right to 3 units in the last place.
FLOAT = """\
typedef union { T x; int32_t i; uint32_t u; } Word;

/* x where it is a number, else NaN, in the place of y, which is computed of it. */
INLINE T unless_nan(T y, T x) {
  Word p, q;
  const int32_t is_number = x == x;
  p.x = y, q.x = x;
  p.i = (p.i & -is_number) | (q.i & (is_number - 1));
  return p.x;
}

/* x between -most and most, or one of these where it is no number: floats above zero are in the order of
   their bits as signed integers, those below in that as unsigned ones. */
INLINE T held(T x, T most) {
  Word p, q, r;
  p.x = x, q.x = most, r.x = -most;
  p.i = p.i < q.i ? p.i : q.i;
  p.u = p.u < r.u ? p.u : r.u;
  return p.x;
}

/* e to the power x, for x from -87 to 87, is power + power * what is returned. */
INLINE T part_of_exponential(T x, T *power) {
  const int32_t n = (int32_t)(x * T(1.44269504088896341) + T(127.5));
  const T r = (x - (T)(n - 127) * T(0.693359375)) + (T)(n - 127) * T(2.12194440e-4), q = r * r;
  Word u;
  u.i = n * 8388608;
  *power = u.x;
  return ((T(1.3813147746e-3) * q + (T(8.3694188663e-3) * r + T(4.1668456742e-2))) * q +
          (T(1.6666514791e-1) * r + T(4.9999993051e-1))) * q + r;
}
"""
FUNCTIONS = {  # of floats
    "EXP": """\
INLINE T exponential(T x) {
  T power, y = part_of_exponential(held(x * T(0.5), T(87)), &power);
  y = power + power * y;
  return unless_nan(y * y, x);
}
#define {NAME}_EXP exponential
""",
    "TANH": """\
INLINE T hyperbolic_tangent(T x) {
  T power, y = part_of_exponential(2 * held(x, T(20)), &power);
  y = power * y + (power - 1);
  return unless_nan(y / (y + 2), x);
}
#define {NAME}_TANH hyperbolic_tangent
""",
    "SIGMOID": """\
INLINE T logistic(T x) {
  T power, y = part_of_exponential(-held(x, T(87)), &power);
  y = power * y + (power + 1);
  return unless_nan(1 / y, x);
}
#define {NAME}_SIGMOID logistic
""",
}
DOUBLE = {
    "EXP": "#define {NAME}_EXP exp\n",
    "TANH": "#define {NAME}_TANH tanh\n",
    "SIGMOID": "INLINE T logistic(T x) { return 1 / (1 + exp(-x)); }\n#define {NAME}_SIGMOID logistic\n",
}
CALLED = {  # by the statements
    "product": """\
#if defined(__GNUC__) && !defined({NAME}_PLAIN)
#if defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES ((int)(BYTES / sizeof(T)))
typedef T Vector __attribute__((vector_size(BYTES)));
typedef T Loose __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
#define AT(p) (*(const Loose *)(p))
#define TO(p) (*(Loose *)(p))

/* Four vectors of columns, two rows at a time. */
static void four_columns(const T *x, int k, const T *w, int width, T *y) {
  Vector a = AT(y), b = AT(y + LANES), c = AT(y + 2 * LANES), d = AT(y + 3 * LANES);
  Vector e = {0}, f = {0}, g = {0}, h = {0};
  for (; k > 1; k -= 2, x += 2, w += 2 * width) {
    const T u = x[0], v = x[1];
    const T *z = w + width;
    a += u * AT(w), b += u * AT(w + LANES), c += u * AT(w + 2 * LANES), d += u * AT(w + 3 * LANES);
    e += v * AT(z), f += v * AT(z + LANES), g += v * AT(z + 2 * LANES), h += v * AT(z + 3 * LANES);
  }
  if (k) {
    const T u = x[0];
    a += u * AT(w), b += u * AT(w + LANES), c += u * AT(w + 2 * LANES), d += u * AT(w + 3 * LANES);
  }
  TO(y) = a + e, TO(y + LANES) = b + f, TO(y + 2 * LANES) = c + g, TO(y + 3 * LANES) = d + h;
}

/* Eight vectors of columns. */
static void eight_columns(const T *x, int k, const T *w, int width, T *y) {
  Vector a = AT(y), b = AT(y + LANES), c = AT(y + 2 * LANES), d = AT(y + 3 * LANES);
  Vector e = AT(y + 4 * LANES), f = AT(y + 5 * LANES), g = AT(y + 6 * LANES), h = AT(y + 7 * LANES);
  for (; k; k--, x++, w += width) {
    const T u = *x;
    a += u * AT(w), b += u * AT(w + LANES), c += u * AT(w + 2 * LANES), d += u * AT(w + 3 * LANES);
    e += u * AT(w + 4 * LANES), f += u * AT(w + 5 * LANES);
    g += u * AT(w + 6 * LANES), h += u * AT(w + 7 * LANES);
  }
  TO(y) = a, TO(y + LANES) = b, TO(y + 2 * LANES) = c, TO(y + 3 * LANES) = d;
  TO(y + 4 * LANES) = e, TO(y + 5 * LANES) = f, TO(y + 6 * LANES) = g, TO(y + 7 * LANES) = h;
}

static void one_column(const T *x, int k, const T *w, int width, T *y) {
  Vector a = AT(y), b = {0};
  for (; k > 1; k -= 2, x += 2, w += 2 * width) a += x[0] * AT(w), b += x[1] * AT(w + width);
  if (k) a += x[0] * AT(w);
  TO(y) = a + b;
}
#endif

/* y += x w; of the weight w, {panel} columns lie together. */
static void product(const T *x, int k, const T *w, int m, T *y) {
  int width, j;
  for (; m > 0; m -= width, w += width * k, y += width) {
    width = m < {panel} ? m : {panel};
#if defined(__GNUC__) && !defined({NAME}_PLAIN)
    for (j = 0; j + 8 * LANES <= width; j += 8 * LANES) eight_columns(x, k, w + j, width, y + j);
    for (; j + 4 * LANES <= width; j += 4 * LANES) four_columns(x, k, w + j, width, y + j);
    for (; j < width; j += LANES) one_column(x, k, w + j, width, y + j);
#else
    {
      int i;
      for (i = 0; i < k; i++)
        for (j = 0; j < width; j++) y[j] += x[i] * w[i * width + j];
    }
#endif
  }
}
""",
    "dot": """\
static T dot(const T *x, int k, const T *w) {
  T a[8] = {0};
  int i, c;
  for (i = 0; i + 8 <= k; i += 8)
    for (c = 0; c < 8; c++) a[c] += x[i + c] * w[i + c];
  for (; i < k; i++) a[i % 8] += x[i] * w[i];
  return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
}
""",
    "scaled_product": """\
/* a += x w for {panel} columns, and k rows of them. */
static void panel(const T *x, int k, const int8_t *w, T *a) {
  int j;
  for (; k >= 4; k -= 4, x += 4, w += 4 * {panel}) {
    const T p = x[0], q = x[1], r = x[2], s = x[3];
    for (j = 0; j < {panel}; j++)
      a[j] += (p * (T)w[j] + q * (T)w[j + {panel}]) + (r * (T)w[j + 2 * {panel}] + s * (T)w[j + 3 * {panel}]);
  }
  for (; k; k--, x++, w += {panel})
    for (j = 0; j < {panel}; j++) a[j] += *x * (T)w[j];
}

/* y += scale (x w); of the weight w, {panel} columns lie together. */
static void scaled_product(const T *x, int k, const int8_t *w, const T *scale, int m, T *y) {
  int width, i, j;
  for (; m > 0; m -= width, w += width * k, scale += width, y += width) {
    T a[{panel}] = {0};
    width = m < {panel} ? m : {panel};
    if (width == {panel})
      panel(x, k, w, a);
    else
      for (i = 0; i < k; i++)
        for (j = 0; j < width; j++) a[j] += x[i] * (T)w[i * width + j];
    for (j = 0; j < width; j++) y[j] += scale[j] * a[j];
  }
}
""",
    "row": """\
/* A row of a table; a number outside of it is taken for the nearest. */
static int row(int i, int n) { return i < 0 ? 0 : i < n ? i : n - 1; }
""",
}


def header_text(step: Portable, named: Named) -> str:
    """The header: sizes, the state, `init` and `step`."""
    name, upper, kind = named.name, named.name.upper(), _kind(step)
    says = "\n".join(textwrap.fill(x, 100, initial_indent="   ", subsequent_indent="   ") for x in named.says)
    inputs = [
        "#define {0}_INPUTS 1",
        f"#define {{0}}_TOKENS {named.inputs} /* x[0] is one of 0 to {named.inputs - 1} */",
    ]
    if not named.is_token:
        inputs = [f"#define {{0}}_INPUTS {named.inputs} /* numbers in x */"]
    fields = [f"  {kind} s{k}[{len(values)}]; /* {what} */" for k, (what, values) in enumerate(named.states)]
    return "\n".join([
        f"/* {name}: a recurrent net, one time step at a time.", "", says, "",
        f"       {name}_state state;", f"       {name}_init(&state);",
        f"       {name}_step(x, &state, y); for each time step", "",
        "   All that changes is in the state, which is the caller's: each stream has its own, and several",
        "   may run at once. Nothing is allocated and nothing waits. y may be x. */",
        f"#ifndef {upper}_H", f"#define {upper}_H", "",
        *[line.format(upper) for line in inputs],
        f"#define {upper}_OUTPUTS {named.outputs} /* numbers in y */", "",
        "#ifdef __cplusplus", 'extern "C" {', "#endif", "",
        "typedef struct {", *fields,
        f"  {kind} work[{max(1, step.n_work)}]; /* of a step alone */", f"}} {name}_state;", "",
        "/* The state before the first step. */", f"void {name}_init({name}_state *state);", "",
        f"/* One time step: of x[{upper}_INPUTS] and the state, y[{upper}_OUTPUTS] and the next state. */",
        f"void {name}_step(const {_input(step, named)} *x, {name}_state *state, {kind} *y);", "",
        "#ifdef __cplusplus", "}", "#endif", "#endif", "",
    ])  # fmt: skip


def c_text(step: Portable, named: Named) -> str:
    """The C file: weights, functions, `init` and `step`."""
    name, upper, kind = named.name, named.name.upper(), _kind(step)
    body = _renamed("\n".join(step.lines), step, upper)
    start = [
        f"  state->s{k}[{j}] = {_number(v, step)};"
        for k, (_, values) in enumerate(named.states)
        for j, v in enumerate(values)
        if v
    ]
    zeros = [
        f"  for (c = 0; c < {len(values)}; c++) state->s{k}[c] = 0;"
        for k, (_, values) in enumerate(named.states)
    ]
    local = [f"  {kind} a;"] * _uses(body, "a") + [f"  {kind} b;"] * _uses(body, "b")
    pointers = [f"  T *const {t} = {place};" for t, place in step.pointers]
    return "\n".join([
        f"/* See {name}.h. -D{upper}_EXP=expf, and _TANH and _SIGMOID likewise, put other functions in",
        f"   the place of those here; -D{upper}_PLAIN leaves vectors to the compiler. */",
        f'#include "{named.header}"', "", "#include <math.h>", "#include <stdint.h>", "",
        f"typedef {kind} T;", "#define T(x) ((T)(x))",
        "#if defined(__GNUC__)", "#define INLINE static inline __attribute__((always_inline))",
        "#else", "#define INLINE static inline", "#endif", "",
        *[_table(t, step) for t in step.tables], *_functions(body, step, upper),
        f"void {name}_init({name}_state *state) {{",
        *(["  int c;"] if zeros else ["  (void)state;"]), *zeros, *start, "}", "",
        f"void {name}_step(const {_input(step, named)} *x, {name}_state *state, T *y) {{",
        *pointers, "  int c;", *local, *(["  int r;"] * _uses(body, "r")), "  (void)x, (void)state;", body,
        "}", "",
    ])  # fmt: skip


def _kind(step: Portable) -> str:
    return "float" if step.dtype.itemsize == 4 else "double"


def _input(step: Portable, named: Named) -> str:
    return "int" if named.is_token else _kind(step)


def _uses(text: str, name: str) -> bool:
    return re.search(rf"\b{name} \+?= ", text) is not None


def _renamed(text: str, step: Portable, upper: str) -> str:
    """A text whose functions are those of floats, where it computes in these, and can be replaced."""
    text = re.sub(
        rf"\b({'|'.join(x.lower() for x in REPLACEABLE)})\(", lambda m: f"{upper}_{m[1].upper()}(", text
    )
    return re.sub(rf"\b({'|'.join(MATH)})\(", r"\1f(", text) if step.dtype.itemsize == 4 else text


def _functions(body: str, step: Portable, upper: str) -> list[str]:
    """The functions that are called, and those that they call."""
    helpers = [
        f"INLINE {_renamed(text, step, upper)}\n"
        for name, text in HELPERS.items()
        if f"{name}(" in body and name not in ("infinite", "sigmoid")
    ]
    whole = body + "".join(helpers)
    made = ["static T infinite(void) { return (T)INFINITY; }\n"] * ("infinite()" in whole)
    wanted = [f for f in REPLACEABLE if f"{upper}_{f}(" in whole]
    own = FUNCTIONS if step.dtype.itemsize == 4 else DOUBLE
    if wanted and own is FUNCTIONS:
        guard = " || ".join(f"!defined({upper}_{f})" for f in wanted)
        made.append(f"#if {guard}\n{FLOAT}#endif\n")
    made += [f"#ifndef {upper}_{f}\n{own[f].replace('{NAME}', upper)}#endif\n" for f in wanted]
    called = [text for f, text in CALLED.items() if re.search(rf"\b{f}\(", body)]
    called = [text.replace("{panel}", str(PANEL)).replace("{NAME}", upper) for text in called]
    return [*made, *helpers, *called]


def _table(table: Table, step: Portable) -> str:
    values = table.values.reshape(-1)
    kind = "int8_t" if values.dtype.kind == "i" else "T"
    numbers = (
        [str(v) for v in values.tolist()] if kind == "int8_t" else [_number(v, step) for v in values.tolist()]
    )
    each = 24 if kind == "int8_t" else 8
    lines = [", ".join(numbers[k : k + each]) for k in range(0, len(numbers), each)]
    comment = f"/* {table.comment} */\n" * bool(table.comment)
    inside = ",\n".join(f"  {line}" for line in lines)
    return f"{comment}static const {kind} {table.name}[{len(values)}] = {{\n{inside}\n}};\n"


def _number(value: float, step: Portable) -> str:
    """A number as a constant of C."""
    single = step.dtype.itemsize == 4
    text = format(float(value), ".9g" if single else ".17g")
    if text in ("inf", "-inf", "nan"):
        return {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}[text]
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"{text}f" if single else text
