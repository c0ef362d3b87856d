// A table of common graphics cards, for planning for a machine that is not this one.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hardware/profile.h"

namespace loadline::hardware {

// Figures of the maker's data sheet. Rates are peaks; what a kernel reaches of them is the planner's affair.
struct Card {
  std::string_view name;  // without the maker's prefix: "RTX 3060", "RX 7900 XTX"
  double memory_gib;      // as sold
  double bandwidth;       // of its memory, GB/s
  double half_ops;        // float16 products summed in float32, dense, TFLOPS: matrix units where it has them
  double int8_ops;        // dense, TOPS; 0 where the card has no faster way than float16
  double link;            // GB/s from RAM that its PCIe connection carries in practice
};
std::span<const Card> all_cards();

// The cards that a name as people write it can mean: any case, with or without "NVIDIA", "GeForce", "RTX", "AMD",
// "Radeon", "Intel", and with the memory size ("3080 12GB") where there are several.
std::vector<const Card*> matching_cards(std::string_view name);
// The one it means. Throws Error(BadInput) naming those it can mean, or those that are nearest.
const Card& find_card(std::string_view name);

// A GPU with such a card, nothing else running on it but a desktop.
Gpu make_gpu(const Card& card);

}  // namespace loadline::hardware
