#include "hardware/cards.h"

#include <gtest/gtest.h>

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
  EXPECT_THAT(refused("{"), HasSubstr("pc.json is not JSON"));
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
