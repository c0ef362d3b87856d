// What was measured is found again on the same machine, and nowhere else.
#include "hardware/measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>

#include "base/file.h"
#include "hardware/json.h"
#include "support/refusal.h"
#include "support/test_data.h"

namespace loadline::hardware {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// As probed: nothing is measured, but the card's data sheet is known.
Profile probed() {
  Profile profile;
  profile.cpu.model = "Test CPU";
  profile.cpu.cores = 2;
  profile.ram.total = 16 * kGiB;
  profile.disk.name = "ext4 on vda";
  for (const char* id : {"vulkan0", "vulkan1"}) {
    Gpu& gpu = profile.gpus.emplace_back();
    gpu.name = "Test Card";
    gpu.id = id;
    gpu.memory_bandwidth = 360e9;
    gpu.host_bandwidth = 24e9;
    gpu.total = 12 * kGiB;
    gpu.context_memory = kAssumedContextMemory;
    gpu.context_host_memory = kAssumedContextHostMemory;
  }
  return profile;
}

// Only the first of the two cards.
Profile measured() {
  Profile profile = probed();
  profile.cpu.int8_ops = 1e12;
  profile.cpu.float_ops = 2e11;
  profile.ram.read_bandwidth = {14e9, 25e9};
  profile.disk.read_bandwidth = 2e9;
  profile.measured = "2026-01-02";
  profile.gpus[0].memory_bandwidth = 330e9;
  profile.gpus[0].host_bandwidth = 11e9;
  profile.gpus[0].float_ops = 1.2e13;
  profile.gpus[0].context_memory = 250 * kMiB;
  profile.gpus[0].context_measured = true;
  profile.gpus[0].context_host_memory = 90 * kMiB;
  return profile;
}

class Measurements : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path file() const { return folder_.path() / "below" / "hardware.json"; }
  [[nodiscard]] Profile recalled(Profile profile) const {
    recall(profile, file());
    return profile;
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(Measurements, are_what_they_were_the_next_time) {
  remember(measured(), file());
  EXPECT_EQ(to_json(recalled(probed())), to_json(measured()));
}

TEST_F(Measurements, leave_the_data_sheet_of_a_gpu_that_was_not_measured) {
  remember(measured(), file());
  Profile other = probed();
  other.gpus[0].name = "Another Card";  // in the place of the one that was measured
  EXPECT_EQ(recalled(other).gpus[0].memory_bandwidth, 360e9);
  EXPECT_EQ(recalled(other).gpus[0].float_ops, 0);
  EXPECT_EQ(recalled(other).gpus[1].float_ops, 0);
}

TEST_F(Measurements, of_one_gpu_outlive_those_of_another) {
  Profile first = measured();
  first.gpus.resize(1);
  remember(first, file());
  Profile second = measured();
  second.gpus[1].float_ops = 3e12;
  second.gpus.erase(second.gpus.begin());
  remember(second, file());
  const Profile both = recalled(probed());
  EXPECT_EQ(both.gpus[0].float_ops, 1.2e13);
  EXPECT_EQ(both.gpus[1].float_ops, 3e12);
}

TEST_F(Measurements, of_another_machine_are_not_ours) {
  remember(measured(), file());
  Profile other = probed();
  other.cpu.model = "Another CPU";
  other = recalled(other);
  EXPECT_EQ(other.measured, "");
  EXPECT_TRUE(other.ram.read_bandwidth.empty());
  EXPECT_EQ(other.gpus[0].float_ops, 0);
}

TEST_F(Measurements, of_a_context_stay_assumed_where_the_driver_does_not_tell) {
  Profile profile = measured();
  profile.gpus[0].context_measured = false;
  remember(profile, file());
  EXPECT_EQ(recalled(probed()).gpus[0].context_memory, kAssumedContextMemory);
  EXPECT_FALSE(recalled(probed()).gpus[0].context_measured);
  EXPECT_EQ(recalled(probed()).gpus[0].context_host_memory, 90 * kMiB);
  Profile small = probed();
  remember(measured(), file());
  small.gpus[0].total = 200 * kMiB;
  EXPECT_FALSE(recalled(small).gpus[0].context_measured) << "more than there is";
}

TEST_F(Measurements, that_cannot_be_are_not_believed) {
  remember(measured(), file());
  std::string text = read_text_file(file(), kMiB);
  const std::string figure = "11000000000.0";
  ASSERT_THAT(text, HasSubstr(figure));
  text.replace(text.find(figure), figure.size(), "-1");
  std::ofstream(file()) << text;
  const Profile profile = recalled(probed());
  EXPECT_EQ(profile.gpus[0].host_bandwidth, 24e9);
  EXPECT_EQ(profile.gpus[0].memory_bandwidth, 360e9) << "all of a GPU's figures or none";
  EXPECT_THAT(profile.ram.read_bandwidth, ElementsAre(14e9, 25e9));
  std::ofstream(file()) << R"({"Test CPU, 2 cores, 16 GiB": {"gpus": 3, "disks": [], "read_bandwidth": "fast"}})";
  EXPECT_EQ(to_json(recalled(probed())), to_json(probed()));
}

TEST_F(Measurements, that_cannot_be_written_are_an_error) {
  EXPECT_THAT(test::refusal([] { remember(measured(), "/proc/loadline/hardware.json"); }).sentence,
              HasSubstr("cannot be written"));
  EXPECT_THAT(test::refusal([] { remember(measured(), {}); }).sentence, HasSubstr("no folder"));
}

// Meters that got these shares of the processors, one after the other, and then the last of them; the figure tells
// which time it was.
Meters meters_with(std::vector<double> shares) {
  auto calls = std::make_shared<std::size_t>(0);
  const auto next = [calls, shares](double* share) {
    *share = shares[std::min(*calls, shares.size() - 1)];
    return 1e9 * static_cast<double>(++*calls);
  };
  return {.read_bandwidth = [next](unsigned, Bytes, double* share) { return next(share); },
          .int8_peak = [next](unsigned, double* share) { return next(share); },
          .float_peak = [next](unsigned, double* share) { return next(share); },
          .matrix_peak = [next](unsigned, double* share) { return next(share); },
          .stolen = [] { return 0.0; },
          .direct_read = [](const std::filesystem::path&) { return std::optional(3e9); }};
}

const auto kNoProgress = [](std::string_view, double) {};

TEST(Measuring, TakesTheFiguresWhereTheProcessorsWereThere) {
  Profile profile = probed();
  const MeasuredHow how = measure(profile, ".", kNoProgress, meters_with({0.97}));
  EXPECT_TRUE(how.undisturbed);
  EXPECT_THAT(profile.ram.read_bandwidth, ElementsAre(1e9, 2e9));
  EXPECT_EQ(profile.cpu.int8_ops, 3e9);
  EXPECT_NE(profile.measured, "");
}

TEST(Measuring, MeasuresAgainWhatOthersDisturbed) {
  Profile profile = probed();
  const MeasuredHow how = measure(profile, ".", kNoProgress, meters_with({0.3, 0.5, 0.95, 0.99}));
  EXPECT_TRUE(how.undisturbed);
  EXPECT_THAT(profile.ram.read_bandwidth, ElementsAre(3e9, 4e9));
}

TEST(Measuring, KeepsWhatItKnewWhereOthersHadTheProcessorsAllTheTime) {
  Profile profile = measured();
  const MeasuredHow how = measure(profile, ".", kNoProgress, meters_with({0.4}));
  EXPECT_FALSE(how.undisturbed);
  EXPECT_EQ(how.share, 0.4);
  EXPECT_THAT(profile.ram.read_bandwidth, ElementsAre(14e9, 25e9));
  EXPECT_EQ(profile.cpu.int8_ops, 1e12);
  EXPECT_EQ(profile.cpu.float_ops, 2e11);
  EXPECT_EQ(profile.measured, "2026-01-02");
  EXPECT_EQ(profile.disk.read_bandwidth, 3e9) << "the disk does not need the processors";
}

TEST(Measuring, TimeThatAHypervisorTookCountsAsTaken) {
  Profile profile = measured();
  Meters meters = meters_with({1.0});
  double stolen = 0;
  meters.stolen = [&stolen] { return stolen += 1000; };
  EXPECT_FALSE(measure(profile, ".", kNoProgress, meters).undisturbed);
  EXPECT_EQ(profile.measured, "2026-01-02");
}

}  // namespace
}  // namespace loadline::hardware
