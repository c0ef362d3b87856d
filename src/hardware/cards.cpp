#include "hardware/cards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/setting.h"
#include "base/text.h"

namespace loadline::hardware {
namespace {

// What a PCIe connection carries in practice, GB/s: about 80 % of the line rate (PCI Express base specification, per
// lane 0.985, 1.969 and 3.938 GB/s for generations 3, 4 and 5).
constexpr double kGen3x16 = 12.5;
constexpr double kGen4x8 = 12.5;
constexpr double kGen4x16 = 25;
constexpr double kGen5x8 = 25;
constexpr double kGen5x16 = 50;

// What the makers state of each card (nvidia.com GeForce, RTX and data-centre; amd.com Radeon; intel.com Arc), written
// down from general knowledge of those figures and not copied from the pages: for desktop GeForce and Radeon cards a
// test works them out again from bus width, memory rate, units and clock. Mobile parts are at their usual power, and
// workstation and data-centre figures have been looked over only. Not measured; `loadline devices --measure` measures.
// half_ops: for GeForce from Turing on what the tensor cores do when they sum in float32, half of what is advertised;
// for workstation and data-centre cards all of it, without sparsity; before that float32's rate; Radeon packed float16,
// matrix instructions from RDNA 3 on; Arc XMX. int8_ops likewise; 0 where none is stated or it is emulated.
constexpr std::array kCards = {
    // NVIDIA GeForce, Pascal and Turing without tensor cores
    Card{"GTX 1050 Ti", 4, 112, 2.1, 8.5, kGen3x16},
    Card{"GTX 1060", 6, 192, 4.4, 17.5, kGen3x16},
    Card{"GTX 1070", 8, 256, 6.5, 25.8, kGen3x16},
    Card{"GTX 1080", 8, 320, 8.9, 35.5, kGen3x16},
    Card{"GTX 1080 Ti", 11, 484, 11.3, 45.4, kGen3x16},
    Card{"GTX 1650", 4, 128, 6.0, 11.9, kGen3x16},
    Card{"GTX 1660", 6, 192, 10.1, 20.1, kGen3x16},
    Card{"GTX 1660 Super", 6, 336, 10.1, 20.1, kGen3x16},
    Card{"GTX 1660 Ti", 6, 288, 10.9, 21.7, kGen3x16},
    // Turing
    Card{"RTX 2060", 6, 336, 25.8, 103, kGen3x16},
    Card{"RTX 2060 Super", 8, 448, 28.7, 115, kGen3x16},
    Card{"RTX 2070", 8, 448, 29.9, 119, kGen3x16},
    Card{"RTX 2070 Super", 8, 448, 36.3, 145, kGen3x16},
    Card{"RTX 2080", 8, 448, 40.3, 161, kGen3x16},
    Card{"RTX 2080 Super", 8, 496, 44.6, 178, kGen3x16},
    Card{"RTX 2080 Ti", 11, 616, 53.8, 215, kGen3x16},
    // Ampere
    Card{"RTX 3050", 8, 224, 18.2, 73, kGen4x8},
    Card{"RTX 3050 Mobile", 4, 192, 11, 44, kGen4x8},
    Card{"RTX 3050 Ti Mobile", 4, 192, 13, 53, kGen4x8},
    Card{"RTX 3060", 12, 360, 25.5, 102, kGen4x16},
    Card{"RTX 3060 Mobile", 6, 336, 21.8, 87, kGen4x16},
    Card{"RTX 3060 Ti", 8, 448, 32.4, 130, kGen4x16},
    Card{"RTX 3070", 8, 448, 40.6, 163, kGen4x16},
    Card{"RTX 3070 Mobile", 8, 448, 31.9, 128, kGen4x16},
    Card{"RTX 3070 Ti", 8, 608, 43.5, 174, kGen4x16},
    Card{"RTX 3080 10GB", 10, 760, 59.5, 238, kGen4x16},
    Card{"RTX 3080 12GB", 12, 912, 61.3, 245, kGen4x16},
    Card{"RTX 3080 Ti", 12, 912, 68.2, 273, kGen4x16},
    Card{"RTX 3090", 24, 936, 71.2, 285, kGen4x16},
    Card{"RTX 3090 Ti", 24, 1008, 80, 320, kGen4x16},
    // Ada
    Card{"RTX 4050 Mobile", 6, 192, 18, 72, kGen4x8},
    Card{"RTX 4060", 8, 272, 30.2, 121, kGen4x8},
    Card{"RTX 4060 Mobile", 8, 256, 23, 92, kGen4x8},
    Card{"RTX 4060 Ti 8GB", 8, 288, 44.1, 177, kGen4x8},
    Card{"RTX 4060 Ti 16GB", 16, 288, 44.1, 177, kGen4x8},
    Card{"RTX 4070", 12, 504, 58.3, 233, kGen4x16},
    Card{"RTX 4070 Mobile", 8, 256, 31, 124, kGen4x8},
    Card{"RTX 4070 Super", 12, 504, 71, 284, kGen4x16},
    Card{"RTX 4070 Ti", 12, 504, 80.2, 321, kGen4x16},
    Card{"RTX 4070 Ti Super", 16, 672, 88.2, 353, kGen4x16},
    Card{"RTX 4080", 16, 717, 97.5, 390, kGen4x16},
    Card{"RTX 4080 Super", 16, 736, 104.4, 418, kGen4x16},
    Card{"RTX 4090", 24, 1008, 165.2, 661, kGen4x16},
    Card{"RTX 4090 Mobile", 16, 576, 66, 264, kGen4x16},
    // Blackwell
    Card{"RTX 5060", 8, 448, 38.4, 153, kGen5x8},
    Card{"RTX 5060 Ti 8GB", 8, 448, 47.4, 190, kGen5x8},
    Card{"RTX 5060 Ti 16GB", 16, 448, 47.4, 190, kGen5x8},
    Card{"RTX 5070", 12, 672, 61.7, 247, kGen5x16},
    Card{"RTX 5070 Ti", 16, 896, 87.9, 351, kGen5x16},
    Card{"RTX 5080", 16, 960, 112.6, 450, kGen5x16},
    Card{"RTX 5090", 32, 1792, 209.5, 838, kGen5x16},
    // NVIDIA workstation and data centre
    Card{"Tesla P40", 24, 347, 11.8, 47, kGen3x16},
    Card{"Tesla V100 16GB", 16, 900, 125, 0, kGen3x16},
    Card{"Tesla V100 32GB", 32, 900, 125, 0, kGen3x16},
    Card{"Tesla T4", 16, 320, 65, 130, kGen3x16},
    Card{"RTX A2000 12GB", 12, 288, 32, 64, kGen4x16},
    Card{"RTX A4000", 16, 448, 76.7, 153, kGen4x16},
    Card{"RTX A5000", 24, 768, 111, 222, kGen4x16},
    Card{"RTX A6000", 48, 768, 154.8, 310, kGen4x16},
    Card{"RTX 6000 Ada", 48, 960, 364, 729, kGen4x16},
    Card{"A10", 24, 600, 125, 250, kGen4x16},
    Card{"L4", 24, 300, 121, 242, kGen4x16},
    Card{"L40S", 48, 864, 362, 733, kGen4x16},
    Card{"A100 40GB", 40, 1555, 312, 624, kGen4x16},
    Card{"A100 80GB", 80, 2039, 312, 624, kGen4x16},
    Card{"H100", 80, 3350, 989, 1979, kGen5x16},
    Card{"H200", 141, 4800, 989, 1979, kGen5x16},
    // AMD Radeon
    Card{"RX 580", 8, 256, 6.2, 0, kGen3x16},
    Card{"RX 5700 XT", 8, 448, 19.5, 0, kGen4x16},
    Card{"RX 6600", 8, 224, 17.9, 35.7, kGen4x8},
    Card{"RX 6600 XT", 8, 256, 21.2, 42.4, kGen4x8},
    Card{"RX 6700 XT", 12, 384, 26.4, 52.9, kGen4x16},
    Card{"RX 6800", 16, 512, 32.3, 64.7, kGen4x16},
    Card{"RX 6800 XT", 16, 512, 41.5, 83, kGen4x16},
    Card{"RX 6900 XT", 16, 512, 46.1, 92, kGen4x16},
    Card{"RX 7600", 8, 288, 43.5, 43.5, kGen4x8},
    Card{"RX 7600 XT", 16, 288, 45.1, 45.1, kGen4x8},
    Card{"RX 7700 XT", 12, 432, 70.3, 70.3, kGen4x16},
    Card{"RX 7800 XT", 16, 624, 74.6, 74.6, kGen4x16},
    Card{"RX 7900 GRE", 16, 576, 92, 92, kGen4x16},
    Card{"RX 7900 XT", 20, 800, 103, 103, kGen4x16},
    Card{"RX 7900 XTX", 24, 960, 122.8, 122.8, kGen4x16},
    Card{"RX 9060 XT 16GB", 16, 320, 103, 205, kGen5x16},
    Card{"RX 9070", 16, 640, 145, 289, kGen5x16},
    Card{"RX 9070 XT", 16, 640, 195, 389, kGen5x16},
    // Intel Arc
    Card{"Arc A380", 6, 186, 34, 68, kGen4x8},
    Card{"Arc A750", 8, 512, 115, 229, kGen4x16},
    Card{"Arc A770 16GB", 16, 560, 131, 262, kGen4x16},
    Card{"Arc B570", 10, 380, 101, 203, kGen4x8},
    Card{"Arc B580", 12, 456, 116, 233, kGen4x8},
};

// Lower case, words apart, makers' names left out, "12 GB" as "12gb": what two spellings of one card have in common.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  char before = ' ';
  for (const char raw : name) {
    const auto c = static_cast<char>(std::tolower(static_cast<unsigned char>(raw)));
    const bool separator = std::isalnum(static_cast<unsigned char>(c)) == 0;
    const bool starts_digits = std::isdigit(static_cast<unsigned char>(c)) != 0 &&
                               std::isalpha(static_cast<unsigned char>(before)) != 0 && words.back().size() > 1;
    if (separator || starts_digits) words.emplace_back();
    if (!separator) words.back().push_back(c);
    before = c;
  }
  std::vector<std::string> kept;
  for (std::string& word : words) {
    for (const std::string_view ignored : {"nvidia", "geforce", "amd", "radeon", "intel", "tesla", "graphics", "gpu"}) {
      if (word == ignored) word.clear();
    }
    if (word == "laptop") word = "mobile";
    if ((word == "gb" || word == "gib") && !kept.empty() && std::ranges::all_of(kept.back(), ::isdigit)) {
      kept.back() += "gb";
    } else if (!word.empty()) {
      kept.push_back(std::move(word));
    }
  }
  return kept;
}

std::string joined(const std::vector<std::string>& words) { return fmt::format("{}", fmt::join(words, "")); }

// Without the name of the series in front, which people leave out: "3060".
std::string without_series(std::vector<std::string> words) {
  constexpr std::array<std::string_view, 5> kSeries = {"rtx", "gtx", "rx", "arc", "gt"};
  if (words.size() > 1 && std::ranges::find(kSeries, words.front()) != kSeries.end()) words.erase(words.begin());
  return joined(words);
}

// Levenshtein's distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

[[noreturn]] void refuse(std::string_view name) {
  const std::string wanted = without_series(words_of(name));
  std::vector<std::pair<std::size_t, std::string_view>> near;
  for (const Card& card : kCards) {
    near.emplace_back(distance(wanted, without_series(words_of(card.name))), card.name);
  }
  std::ranges::stable_sort(near, {}, &std::pair<std::size_t, std::string_view>::first);
  throw bad_input(fmt::format("no graphics card \"{}\" is in the table", printable(name)),
                  fmt::format("The nearest names are {}, {} and {}; any other machine can be described in a file "
                              "(`loadline devices --json` writes one).",
                              near[0].second, near[1].second, near[2].second),
                  Setting::Machine);
}

}  // namespace

std::span<const Card> all_cards() { return kCards; }

std::vector<const Card*> matching_cards(std::string_view name) {
  const std::vector<std::string> wanted = words_of(name);
  if (wanted.empty()) return {};
  // From the strictest to the loosest: as in the table; "RTX 3060 12GB", which is the RTX 3060; "RTX 3080", of which
  // there are two sizes; and each without "RTX".
  const auto sized = [](const Card& card) { return fmt::format("{}gb", card.memory_gib); };
  const auto unsized = [&](const Card& card) {
    std::vector<std::string> words = words_of(card.name);
    if (words.back() == sized(card)) words.pop_back();
    return words;
  };
  const auto find = [&](const auto& matches) {
    std::vector<const Card*> found;
    for (const Card& card : kCards) {
      if (matches(card)) found.push_back(&card);
    }
    return found;
  };
  const std::string whole = joined(wanted);
  auto found = find([&](const Card& card) {
    return joined(words_of(card.name)) == whole || joined(unsized(card)) + sized(card) == whole;
  });
  if (found.empty()) found = find([&](const Card& card) { return joined(unsized(card)) == whole; });
  if (found.empty()) {
    found = find([&](const Card& card) { return without_series(unsized(card)) + sized(card) == whole; });
  }
  if (found.empty()) found = find([&](const Card& card) { return without_series(unsized(card)) == whole; });
  return found;
}

const Card& find_card(std::string_view name) {
  const std::vector<const Card*> found = matching_cards(name);
  if (found.empty()) refuse(name);
  if (found.size() > 1) {
    std::vector<std::string_view> names;
    for (const Card* card : found) names.push_back(card->name);
    throw bad_input(fmt::format("\"{}\" can be several graphics cards", printable(name)),
                    fmt::format("Say which: {}.", fmt::join(names, ", ")));
  }
  return *found.front();
}

Gpu make_gpu(const Card& card) {
  Gpu gpu;
  gpu.name = card.name;
  gpu.driver = "table";
  gpu.total = Bytes(static_cast<std::uint64_t>(card.memory_gib * static_cast<double>(kGiB.value)));
  // What the driver reserves and a desktop takes: 300 MiB on a small card, seldom over 600 on a large one.
  const Bytes taken = std::clamp(gpu.total / 1000 * 75, 300 * kMiB, 600 * kMiB);
  gpu.free = gpu.total - taken;
  gpu.memory_bandwidth = card.bandwidth * 1e9;
  gpu.half_ops = card.half_ops * 1e12;
  gpu.int8_ops = card.int8_ops * 1e12;
  gpu.host_bandwidth = card.link * 1e9;
  gpu.context_memory = kAssumedContextMemory;
  gpu.context_host_memory = kAssumedContextHostMemory;
  return gpu;
}

}  // namespace loadline::hardware
