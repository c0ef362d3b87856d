// Words that everything written over the primitives `V` of an instruction set uses (which the including file brings).
// Internal linkage.
#pragma once

#include <utility>

namespace loadline::cpu {
namespace {

using I = V::I;
using F = V::F;

template <int n>
using Const = std::integral_constant<int, n>;

// Calls f(Const<0>), ..., f(Const<n - 1>).
template <int n, class Function>
LOADLINE_INLINE void unrolled(Function&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>)
      __attribute__((always_inline)) { (f(Const<i>{}), ...); }(std::make_integer_sequence<int, n>{});
}
#define LOADLINE_EACH(name) [&](auto name) __attribute__((always_inline))

}  // namespace
}  // namespace loadline::cpu
