// e^x, ln x and x^y for the weights of candidates, the same to the last bit on every machine. The C library's differs
// between versions and processors by a unit in the last place, which is enough to choose another token once in a long
// while.
#pragma once

#include <bit>
#include <cstdint>

namespace loadline::sample {

// e^x for x <= 0 (or NaN, which gives 0), within 2 units in the last place; 0 below -708, where doubles become
// subnormal. Must be compiled without contraction to fused multiply-adds (see CMakeLists.txt).
inline double exponential(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  // ln 2 in two parts: the first has 21 trailing zero bits, so that its product with an exponent is exact.
  constexpr double kLn2High = 0x1.62E42FEEp-1;
  constexpr double kLn2Low = 0x1.A39EF35793C76p-33;
  if (!(x > -708.0)) return 0.0;
  const auto power = static_cast<std::int64_t>(x * kLog2E - 0.5);  // to the nearest, since x is not positive
  const double scale = static_cast<double>(power);
  const double r = (x - scale * kLn2High) - scale * kLn2Low;  // |r| <= ln(2) / 2
  // The Taylor series; its first omitted term, r^14 / 14!, is below 5e-18.
  double sum = 1.0 / 6227020800.0;
  for (const double reciprocal : {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                                  1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0}) {
    sum = sum * r + reciprocal;
  }
  return sum * std::bit_cast<double>(static_cast<std::uint64_t>(power + 1023) << 52);
}

// ln x for x > 0 that is no subnormal, within 2 units in the last place of the larger of the result and 1.
inline double logarithm(double x) {
  constexpr double kLn2High = 0x1.62E42FEEp-1;  // as above
  constexpr double kLn2Low = 0x1.A39EF35793C76p-33;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto power = static_cast<std::int64_t>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFU) | (std::uint64_t{1023} << 52));
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++power;
  }
  // ln m = 2 artanh s; |s| <= 0.172, and the first omitted term, s^23 / 23, is below 2e-19.
  const double s = (mantissa - 1.0) / (mantissa + 1.0);
  const double square = s * s;
  double sum = 1.0 / 21.0;
  for (const double reciprocal :
       {1.0 / 19.0, 1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0}) {
    sum = sum * square + reciprocal;
  }
  const auto scale = static_cast<double>(power);
  return scale * kLn2High + (2.0 * s * sum + scale * kLn2Low);
}

// x^y for x from 0 to 1 and y >= 0.
inline double power_of_share(double x, double y) {
  if (y == 0.0) return 1.0;
  return x < 1e-300 ? 0.0 : exponential(y * logarithm(x));
}

}  // namespace loadline::sample
