"""The C functions that ops name in their expressions, `c`: T is the type that is computed in."""

HELPERS = {
    "larger": "T larger(T a, T b) { return a > b || a != a ? a : b; }  // NaN wins, as in NumPy",
    "smaller": "T smaller(T a, T b) { return a < b || a != a ? a : b; }",
    "clipped": "T clipped(T x, T low, T high) { x = x < low ? low : x; return x > high ? high : x; }",
    "log_of_sum": (
        "T log_of_sum(T a, T b) {\n"
        "  const T d = a == b ? T(0) : fabs(a - b);  // of equal infinities too\n"
        "  return (a > b || a != a ? a : b) + log1p(exp(-d));\n"
        "}"
    ),
    "sign_of": "T sign_of(T x) { return x != x ? x : T((x > 0) - (x < 0)); }",
    "sigmoid": "T sigmoid(T x) { const T e = exp(-fabs(x)); return (x < 0 ? e : T(1)) / (T(1) + e); }",
    "power": "T power(T a, T b) { return b == T(2) ? a * a : pow(a, b); }",
    "remainder_of": (
        "T remainder_of(T a, T b) {\n"
        "  const T m = fmod(a, b);\n"
        "  return m != 0 && (m < 0) != (b < 0) ? m + b : m;\n"
        "}"
    ),
    "floor_divide": (
        "T floor_divide(T a, T b) {\n"
        "  const T m = fmod(a, b), q = (a - (m != 0 && (m < 0) != (b < 0) ? m + b : m)) / b;\n"
        "  return b == 0 ? a / b : rint(q);\n"
        "}"
    ),
    "gelu_none": (
        "T gelu_none(T x) {\n"
        "  return (x < -40 ? T(-40) : x) * (T(0.5) * (T(1) + erf(x * T(0.7071067811865476))));\n"
        "}"
    ),
    "gelu_tanh": (
        "T gelu_tanh(T x) {\n"
        "  const T z = x < -40 ? T(-40) : x > 40 ? T(40) : x;\n"
        "  const T u = T(1.5957691216057308) * (z + T(0.044715) * (z * z * z)), e = exp(-fabs(u));\n"
        "  return (x < -40 ? T(-40) : x) * ((u < 0 ? e : T(1)) / (T(1) + e));\n"
        "}"
    ),
    "infinite": "T infinite() { return __longlong_as_double(0x7ff0000000000000LL); }",
}
