// Loops over runs of elements: one operation of a tape's pointwise loop each, correctly rounded, without contraction.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <type_traits>

#include "context.h"

namespace shb {

// Elements of an operand: a run of numbers, or one number for the whole run.
struct Run {
    const char* data;
    bool many;
};
using Pointwise = void (*)(Run a, Run b, Run c, char* out, int64_t n);

template <class A, class R, class F>
static void two(Run a, Run b, char* out, int64_t n, F f) {
    const A *x = (const A*)a.data, *y = (const A*)b.data;
    R* __restrict__ to = (R*)out;
    if (a.many && b.many)
        for (int64_t i = 0; i < n; i++) to[i] = f(x[i], y[i]);
    else if (a.many) {
        const A second = *y;
        for (int64_t i = 0; i < n; i++) to[i] = f(x[i], second);
    } else if (b.many) {
        const A first = *x;
        for (int64_t i = 0; i < n; i++) to[i] = f(first, y[i]);
    } else {
        const R one = f(*x, *y);
        for (int64_t i = 0; i < n; i++) to[i] = one;
    }
}

template <class A, class R, class F>
static void one(Run a, char* out, int64_t n, F f) {
    two<A, R>(a, {a.data, a.many}, out, n, [f](A x, A) { return f(x); });
}

// Whether there is the function F of numbers of the type A.
template <Function F, class A>
static constexpr bool has() {
    if (F == COPY) return false;  // it converts: see `conversion`
    if (F == EQ || F == NE || F == WHERE) return true;
    if (F == AND || F == OR || F == XOR || F == NOT) return std::is_same_v<A, bool>;
    if (F == ADD || F == SUB || F == MUL || F == NEG || F == LT || F == LE || F == GT || F == GE) return !std::is_same_v<A, bool>;
    return std::is_floating_point_v<A>;
}

// The function F of numbers of the type A.
template <Function F, class A>
static void apply(Run a, Run b, Run c, char* out, int64_t n) {
    if constexpr (F == ADD) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x + y; });
    else if constexpr (F == SUB) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x - y; });
    else if constexpr (F == MUL) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x * y; });
    else if constexpr (F == DIV) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x / y; });
    // not-a-number where one of both is
    else if constexpr (F == MAXIMUM) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x > y || x != x ? x : y; });
    else if constexpr (F == MINIMUM) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x < y || x != x ? x : y; });
    else if constexpr (F == AND) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x & y; });
    else if constexpr (F == OR) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x | y; });
    else if constexpr (F == XOR) two<A, A>(a, b, out, n, [](A x, A y) -> A { return x ^ y; });
    else if constexpr (F == EQ) two<A, bool>(a, b, out, n, [](A x, A y) { return x == y; });
    else if constexpr (F == NE) two<A, bool>(a, b, out, n, [](A x, A y) { return x != y; });
    else if constexpr (F == LT) two<A, bool>(a, b, out, n, [](A x, A y) { return x < y; });
    else if constexpr (F == LE) two<A, bool>(a, b, out, n, [](A x, A y) { return x <= y; });
    else if constexpr (F == GT) two<A, bool>(a, b, out, n, [](A x, A y) { return x > y; });
    else if constexpr (F == GE) two<A, bool>(a, b, out, n, [](A x, A y) { return x >= y; });
    // the gradient x of a ReLU whose result was y: as autograd, it passes where y is not-a-number
    else if constexpr (F == THRESHOLD) two<A, A>(a, b, out, n, [](A x, A y) -> A { return y <= 0 ? 0 : x; });
    else if constexpr (F == NEG) one<A, A>(a, out, n, [](A x) -> A { return -x; });
    else if constexpr (F == ABS) one<A, A>(a, out, n, [](A x) -> A { return std::abs(x); });
    else if constexpr (F == SIGN) one<A, A>(a, out, n, [](A x) -> A { return (A)(x > 0) - (A)(x < 0); });
    else if constexpr (F == SQRT) one<A, A>(a, out, n, [](A x) -> A { return std::sqrt(x); });
    else if constexpr (F == RECIPROCAL) one<A, A>(a, out, n, [](A x) -> A { return 1 / x; });
    else if constexpr (F == RELU) one<A, A>(a, out, n, [](A x) -> A { return x <= 0 ? 0 : x; });
    else if constexpr (F == NOT) one<A, A>(a, out, n, [](A x) -> A { return !x; });
    else {
        static_assert(F == WHERE, "a function of enumerations.py that has no code here");
        const bool* which = (const bool*)a.data;
        const A *x = (const A*)b.data, *y = (const A*)c.data;
        A* to = (A*)out;
        for (int64_t i = 0; i < n; i++) to[i] = which[a.many ? i : 0] ? x[b.many ? i : 0] : y[c.many ? i : 0];
    }
}

template <class A, class R>
static void convert(Run a, Run, Run, char* out, int64_t n) {
    one<A, R>(a, out, n, [](A x) -> R { return (R)x; });
}

template <Function F, class A>
static Pointwise of() {
    if constexpr (has<F, A>()) return apply<F, A>;
    else throw std::invalid_argument("a function that the type does not have");
}

template <Function F>
static Pointwise of_type(Dtype type) {
    switch (type) {
        case F32: return of<F, float>();
        case F64: return of<F, double>();
        case BOOL: return of<F, bool>();
        case I64: return of<F, int64_t>();
        default: throw std::invalid_argument("a function of a type that it does not have");
    }
}

template <class A>
static Pointwise conversion(Dtype to) {
    switch (to) {
        case F32: return convert<A, float>;
        case F64: return convert<A, double>;
        case BOOL: return convert<A, bool>;
        case I64: return convert<A, int64_t>;
        default: throw std::invalid_argument("dtype");
    }
}

// `to` matters for COPY alone, which converts
static Pointwise pointwise(Function function, Dtype type, Dtype to) {
    if (function == COPY) switch (type) {
            case F32: return conversion<float>(to);
            case F64: return conversion<double>(to);
            case BOOL: return conversion<bool>(to);
            case I64: return conversion<int64_t>(to);
            case I8: return conversion<int8_t>(to);
            default: throw std::invalid_argument("dtype");
        }
    switch (function) {
#define CASE(F) case F: return of_type<F>(type);
        X_FUNCTIONS(CASE)
#undef CASE
    }
    throw std::invalid_argument("function");
}

}  // namespace shb
