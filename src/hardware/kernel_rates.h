// What our kernels were measured to reach on a processor, as plain data, and remembered beside what the machine can do
// at most (measurements.h). Which kernels there are is a backend's affair: here they have names.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hardware/profile.h"

namespace loadline::hardware {

// With one instruction set, on all cores together.
struct KernelRates {
  struct Product {
    std::string format;    // of the weights: "Q4_K"
    double bandwidth = 0;  // bytes/s of weights, a token at a time
    double ops = 0;        // operations/s with a batch of tokens
    bool operator==(const Product&) const = default;
  };
  std::vector<Product> products;
  double read_bandwidth = 0;   // bytes/s: the most that RAM gave while they were measured
  double cache_bandwidth = 0;  // bytes/s of the KV cache, attention for one token
  double attention_ops = 0;    // operations/s of attention for a batch
  double loading = 0;          // bytes/s of weights laid out into pages that are new to the process

  bool operator==(const KernelRates&) const = default;
};

// $XDG_CACHE_HOME/loadline/kernels.json, or under ~/.cache; empty where neither is known.
std::filesystem::path kernel_rates_path();

// By machine (processor, cores) and instruction set; "" is the one that is used where nobody names another. A file that
// is missing or damaged, or a rate that cannot be believed, is nothing. `remember` throws Error(BadInput) where the
// file cannot be written.
std::optional<KernelRates> recall_kernels(const std::filesystem::path& file, const Cpu& cpu, const std::string& set);
void remember_kernels(const std::filesystem::path& file, const Cpu& cpu, const std::string& set,
                      const KernelRates& rates);

}  // namespace loadline::hardware
