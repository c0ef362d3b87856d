#include "hardware/cards.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "hardware/json.h"
#include "hardware/what_if.h"
#include "support/refusal.h"

namespace loadline::hardware {
namespace {

using testing::HasSubstr;

TEST(Cards, are_found_as_people_write_them) {
  for (const auto& [written, meant] : {
           std::pair{"RTX 3050 Ti Mobile", "RTX 3050 Ti Mobile"},
           {"rtx 3050 ti mobile", "RTX 3050 Ti Mobile"},
           {"NVIDIA GeForce RTX 3050 Ti Laptop GPU", "RTX 3050 Ti Mobile"},
           {"3050ti mobile", "RTX 3050 Ti Mobile"},
           {"3060", "RTX 3060"},
           {"RTX3060", "RTX 3060"},
           {"rtx-3060", "RTX 3060"},
           {"RTX 3060 12GB", "RTX 3060"},
           {"3080 12 GB", "RTX 3080 12GB"},
           {"RTX 3080 10GB", "RTX 3080 10GB"},
           {"AMD Radeon RX 7900 XTX", "RX 7900 XTX"},
           {"7900xtx", "RX 7900 XTX"},
           {"Intel Arc A770 Graphics", "Arc A770 16GB"},
           {"1080 Ti", "GTX 1080 Ti"},
           {"Tesla T4", "Tesla T4"},
       }) {
    EXPECT_EQ(find_card(written).name, meant) << written;
  }
}

TEST(Cards, every_card_is_found_under_its_own_name) {
  std::set<std::string_view> names;
  for (const Card& card : all_cards()) {
    EXPECT_EQ(&find_card(card.name), &card) << card.name;
    EXPECT_TRUE(names.insert(card.name).second) << card.name;
  }
  EXPECT_GE(names.size(), 60U);
}

TEST(Cards, a_name_for_several_is_refused_with_all_of_them) {
  const test::Refusal refusal = test::refusal([] { return find_card("rtx 3080"); });
  EXPECT_THAT(refusal.sentence, HasSubstr("\"rtx 3080\" can be several"));
  EXPECT_EQ(refusal.hint, "Say which: RTX 3080 10GB, RTX 3080 12GB.");
  EXPECT_THAT(test::refusal([] { return find_card("A100"); }).hint, HasSubstr("A100 40GB, A100 80GB"));
}

TEST(Cards, an_unknown_name_is_refused_with_the_nearest) {
  EXPECT_THAT(test::refusal([] { return find_card("RTX 4061"); }).hint, HasSubstr("RTX 4060"));
  for (const char* name : {"", "RTX", "Voodoo 2", "3060 11GB", "\x1b[31m"}) {
    EXPECT_THAT(test::refusal([&] { return find_card(name); }).sentence, HasSubstr("no graphics card"));
  }
}

// Figures that a slip of the finger would put out of proportion.
TEST(Cards, have_figures_in_proportion) {
  for (const Card& card : all_cards()) {
    EXPECT_GE(card.memory_gib, 4) << card.name;
    EXPECT_LE(card.memory_gib, 141) << card.name;
    const double per_byte = card.half_ops * 1e12 / (card.bandwidth * 1e9);  // operations while a byte is read
    EXPECT_GE(per_byte, 15) << card.name;
    EXPECT_LE(per_byte, 450) << card.name;
    if (card.int8_ops > 0) {
      EXPECT_GE(card.int8_ops, card.half_ops * 0.99) << card.name;
      EXPECT_LE(card.int8_ops, card.half_ops * 4.1) << card.name;
    }
    EXPECT_GT(card.link, 5) << card.name;
    EXPECT_LT(card.link, card.bandwidth) << card.name;
    const Gpu gpu = make_gpu(card);
    EXPECT_LT(gpu.free, gpu.total);
    EXPECT_GT(gpu.free.value, gpu.total.value / 10 * 9) << card.name;
  }
}

// How a card is built, from which its figures follow: the width and rate of its memory, and its float32 units and clock
// (boost, as stated by the maker) with what a unit multiplies and adds in float16 per clock. Mobile and workstation
// parts are left out, whose clocks vary with their power or whose rates do not follow from their units.
struct Built {
  const char* name;
  double bits, gigabits;  // of the memory's bus; per second and pin
  double units, megahertz;
  double half, int8;  // operations per unit and clock; 0: none stated
};
constexpr Built kPascal{"", 0, 0, 0, 0, 2, 8};     // float16 is slow there: float32's rate, and DP4A
constexpr Built kTuring16{"", 0, 0, 0, 0, 4, 8};   // without tensor cores
constexpr Built kTuring20{"", 0, 0, 0, 0, 8, 32};  // tensor cores that sum in float32
constexpr Built kAmpereOn{"", 0, 0, 0, 0, 4, 16};  // Ampere, Ada and Blackwell, likewise
constexpr Built kRdna1{"", 0, 0, 0, 0, 4, 0};
constexpr Built kRdna2{"", 0, 0, 0, 0, 4, 8};
constexpr Built kRdna3{"", 0, 0, 0, 0, 8, 8};
constexpr Built kRdna4{"", 0, 0, 0, 0, 16, 32};
constexpr Built built(Built family, const char* name, double bits, double gigabits, double units, double megahertz) {
  return {name, bits, gigabits, units, megahertz, family.half, family.int8};
}
constexpr std::array kBuilt = {
    built(kPascal, "GTX 1050 Ti", 128, 7, 768, 1392),
    built(kPascal, "GTX 1060", 192, 8, 1280, 1708),
    built(kPascal, "GTX 1070", 256, 8, 1920, 1683),
    built(kPascal, "GTX 1080", 256, 10, 2560, 1733),
    built(kPascal, "GTX 1080 Ti", 352, 11, 3584, 1582),
    built(kPascal, "Tesla P40", 384, 7.23, 3840, 1531),
    built(kTuring16, "GTX 1650", 128, 8, 896, 1665),
    built(kTuring16, "GTX 1660", 192, 8, 1408, 1785),
    built(kTuring16, "GTX 1660 Super", 192, 14, 1408, 1785),
    built(kTuring16, "GTX 1660 Ti", 192, 12, 1536, 1770),
    built(kTuring20, "RTX 2060", 192, 14, 1920, 1680),
    built(kTuring20, "RTX 2060 Super", 256, 14, 2176, 1650),
    built(kTuring20, "RTX 2070", 256, 14, 2304, 1620),
    built(kTuring20, "RTX 2070 Super", 256, 14, 2560, 1770),
    built(kTuring20, "RTX 2080", 256, 14, 2944, 1710),
    built(kTuring20, "RTX 2080 Super", 256, 15.5, 3072, 1815),
    built(kTuring20, "RTX 2080 Ti", 352, 14, 4352, 1545),
    built(kAmpereOn, "RTX 3050", 128, 14, 2560, 1777),
    built(kAmpereOn, "RTX 3060", 192, 15, 3584, 1777),
    built(kAmpereOn, "RTX 3060 Ti", 256, 14, 4864, 1665),
    built(kAmpereOn, "RTX 3070", 256, 14, 5888, 1725),
    built(kAmpereOn, "RTX 3070 Ti", 256, 19, 6144, 1770),
    built(kAmpereOn, "RTX 3080 10GB", 320, 19, 8704, 1710),
    built(kAmpereOn, "RTX 3080 12GB", 384, 19, 8960, 1710),
    built(kAmpereOn, "RTX 3080 Ti", 384, 19, 10240, 1665),
    built(kAmpereOn, "RTX 3090", 384, 19.5, 10496, 1695),
    built(kAmpereOn, "RTX 3090 Ti", 384, 21, 10752, 1860),
    built(kAmpereOn, "RTX 4060", 128, 17, 3072, 2460),
    built(kAmpereOn, "RTX 4060 Ti 8GB", 128, 18, 4352, 2535),
    built(kAmpereOn, "RTX 4060 Ti 16GB", 128, 18, 4352, 2535),
    built(kAmpereOn, "RTX 4070", 192, 21, 5888, 2475),
    built(kAmpereOn, "RTX 4070 Super", 192, 21, 7168, 2475),
    built(kAmpereOn, "RTX 4070 Ti", 192, 21, 7680, 2610),
    built(kAmpereOn, "RTX 4070 Ti Super", 256, 21, 8448, 2610),
    built(kAmpereOn, "RTX 4080", 256, 22.4, 9728, 2505),
    built(kAmpereOn, "RTX 4080 Super", 256, 23, 10240, 2550),
    built(kAmpereOn, "RTX 4090", 384, 21, 16384, 2520),
    built(kAmpereOn, "RTX 5060", 128, 28, 3840, 2497),
    built(kAmpereOn, "RTX 5060 Ti 8GB", 128, 28, 4608, 2572),
    built(kAmpereOn, "RTX 5060 Ti 16GB", 128, 28, 4608, 2572),
    built(kAmpereOn, "RTX 5070", 192, 28, 6144, 2512),
    built(kAmpereOn, "RTX 5070 Ti", 256, 28, 8960, 2452),
    built(kAmpereOn, "RTX 5080", 256, 30, 10752, 2617),
    built(kAmpereOn, "RTX 5090", 512, 28, 21760, 2407),
    built(kRdna1, "RX 5700 XT", 256, 14, 2560, 1905),
    built(kRdna2, "RX 6600", 128, 14, 1792, 2491),
    built(kRdna2, "RX 6600 XT", 128, 16, 2048, 2589),
    built(kRdna2, "RX 6700 XT", 192, 16, 2560, 2581),
    built(kRdna2, "RX 6800", 256, 16, 3840, 2105),
    built(kRdna2, "RX 6800 XT", 256, 16, 4608, 2250),
    built(kRdna2, "RX 6900 XT", 256, 16, 5120, 2250),
    built(kRdna3, "RX 7600", 128, 18, 2048, 2655),
    built(kRdna3, "RX 7600 XT", 128, 18, 2048, 2755),
    built(kRdna3, "RX 7700 XT", 192, 18, 3456, 2544),
    built(kRdna3, "RX 7800 XT", 256, 19.5, 3840, 2430),
    built(kRdna3, "RX 7900 GRE", 256, 18, 5120, 2245),
    built(kRdna3, "RX 7900 XT", 320, 20, 5376, 2400),
    built(kRdna3, "RX 7900 XTX", 384, 20, 6144, 2500),
    built(kRdna4, "RX 9060 XT 16GB", 128, 20, 2048, 3130),
    built(kRdna4, "RX 9070", 256, 20, 3584, 2520),
    built(kRdna4, "RX 9070 XT", 256, 20, 4096, 2970),
};

TEST(Cards, have_the_figures_that_follow_from_how_they_are_built) {
  for (const Built& one : kBuilt) {
    const Card& card = find_card(one.name);
    EXPECT_NEAR(card.bandwidth, one.bits / 8 * one.gigabits, 0.01 * card.bandwidth) << one.name;
    const double clocks = one.units * one.megahertz * 1e-6;  // of all units, 10^12 per second
    EXPECT_NEAR(card.half_ops, clocks * one.half, 0.02 * card.half_ops) << one.name;
    EXPECT_NEAR(card.int8_ops, clocks * one.int8, 0.02 * card.int8_ops) << one.name;
  }
}

TEST(WhatIf, replaces_gpus_and_ram_and_leaves_the_rest) {
  Profile base;
  base.cpu.cores = 6;
  base.ram.total = base.ram.available = 64 * kGiB;
  base.ram.cgroup_limit = kGiB;
  base.gpus.resize(1);
  const Profile other = what_if(base, {"RTX 3060", "3060"}, 16 * kGiB);
  EXPECT_EQ(other.cpu.cores, 6U);
  ASSERT_EQ(other.gpus.size(), 2U);
  EXPECT_EQ(other.gpus[1].name, "RTX 3060");
  EXPECT_EQ(other.ram.total, 16 * kGiB);
  EXPECT_LT(other.ram.available, 16 * kGiB);
  EXPECT_EQ(other.ram.cgroup_limit, std::nullopt) << "of this machine, not of that";
  EXPECT_EQ(what_if(base, {}, std::nullopt).gpus.size(), 1U);
}

TEST(ProfileJson, says_what_was_written) {
  Profile profile = what_if({}, {"RTX 3060", "RX 7900 XTX"}, 32 * kGiB);
  profile.gpus[0].context_measured = true;
  profile.cpu.model = "Test \"CPU\"";
  profile.cpu.instruction_sets = {"avx2", "fma"};
  profile.cpu.int8_ops = 1.5e12;
  profile.ram.cgroup_limit = 8 * kGiB;
  profile.ram.read_bandwidth = {12.5e9, 30e9};
  profile.disk = {"ext4 on vda", 2e9};
  profile.measured = "2026-01-02";
  const std::string text = to_json(profile);
  const Profile read = profile_from_json(text, "test");
  EXPECT_EQ(to_json(read), text);
  EXPECT_TRUE(read.gpus[0].context_measured);
  EXPECT_FALSE(read.gpus[1].context_measured);
}

TEST(ProfileJson, refuses_what_is_no_machine) {
  const auto refused = [](std::string_view text) {
    return test::refusal([&] { return profile_from_json(text, "pc.json"); }).sentence;
  };
  EXPECT_THAT(refused("{"), HasSubstr("pc.json is not JSON: the text goes wrong at byte 2"));
  EXPECT_THAT(refused("{}"), HasSubstr("ram"));
  EXPECT_THAT(refused(R"({"ram": {"total": 1e999}})"), HasSubstr("too large"));
  EXPECT_THAT(refused(R"({"ram": {"total": -1}})"), HasSubstr("ram.total"));
  EXPECT_THAT(refused(R"({"ram": {"total": 1000, "available": "much"}})"), HasSubstr("ram.available"));
  EXPECT_THAT(refused(R"({"ram": {"total": 1000, "available": 10}, "gpus": 3})"), HasSubstr("gpus"));
  EXPECT_THAT(refused(R"({"ram": {"total": 1000, "available": 10}, "gpus": [{"name": "x", "total": 5, "free": 6}]})"),
              HasSubstr("gpus[0].free"));
}

}  // namespace
}  // namespace loadline::hardware
