// What this machine's memory and processors can do at best: the limits that speeds are stated as shares of.
// Takes a few tenths of a second each and the memory it says; stores nothing.
//
// `share`, where it is asked for: how much of the processors the threads got while the figure was taken, by their own
// processor time against the clock; the least of all threads, 1 at most. Well below 1, others had them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace loadline::hardware {

// Bytes per second that `threads` threads (at least 1) read together from main memory: each streams its own part of
// `size` bytes, which should be well beyond the last-level cache; the middle one of several passes in the fastest of
// several ways of reading. The memory is given back.
// Throws Error(DoesNotFit) if it cannot be had.
double measure_read_bandwidth(unsigned threads, Bytes size = kGiB, double* share = nullptr);

// The same of memory that is there already, in whole multiples of 1 KiB for each thread; what is left over is not read.
// The mean of several passes, as reading the memory for token after token is, in whichever way is fastest here.
double measure_read_bandwidth(unsigned threads, std::span<const std::byte> memory);

// The sets of `measure_int8_peak` that this processor can run, the slowest first: "scalar", "avx2",
// "avxvnni", "avx512", "avx512vbmi", "amx", "neon" as the CPU kernels name them.
std::vector<std::string> measurable_instruction_sets();

// Operations per second (a multiply-add counts two) of `threads` threads that do nothing but 8-bit dot products in
// registers with the given set: what a matrix product cannot exceed. Throws Error(BadInput) for a set that is not in
// the list above.
double measure_int8_peak(std::string_view instruction_set, unsigned threads, double* share = nullptr);

// Likewise for float32 multiply-adds.
double measure_float_peak(std::string_view instruction_set, unsigned threads, double* share = nullptr);

// Likewise for the matrix unit's products of bfloat16; 0 where there is none.
double measure_matrix_peak(unsigned threads, double* share = nullptr);

}  // namespace loadline::hardware
