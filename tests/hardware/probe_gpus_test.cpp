// Which GPUs a run may use: llvmpipe stands for all of them.
#include <gtest/gtest.h>

#include "base/error.h"
#include "hardware/probe.h"
#include "hardware/shared_memory.h"
#include "hardware/vulkan_api.h"

namespace loadline::hardware {
namespace {

class ProbeGpus : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    const auto instance = VulkanInstance::open(why);
    if (!instance) GTEST_SKIP() << "no Vulkan here: " << why;
    for (const VulkanDeviceInfo& device : list_vulkan_devices(*instance)) {
      if (device.software()) software_ = device;
    }
    if (software_.id.empty()) GTEST_SKIP() << "no software Vulkan device (package mesa-vulkan-drivers)";
  }

  VulkanDeviceInfo software_;
};

TEST_F(ProbeGpus, TakeASoftwareDeviceOnlyWhenItIsNamed) {
  for (const Gpu& gpu : probe_gpus()) EXPECT_FALSE(gpu.software) << gpu.name;
  const std::vector<Gpu> gpus = probe_gpus({software_.id});
  ASSERT_EQ(gpus.size(), 1U);
  EXPECT_TRUE(gpus[0].software);
  EXPECT_EQ(gpus[0].id, software_.id);
  EXPECT_EQ(gpus[0].total, software_.memory);
  EXPECT_GT(gpus[0].free.value, 0U);
}

TEST_F(ProbeGpus, TakeOneTwiceWhereItIsNamedTwice) { EXPECT_EQ(probe_gpus({"LLVMPIPE", "llvmpipe"}).size(), 2U); }

TEST_F(ProbeGpus, RefuseANameThatIsNotThereAndSayWhichAre) {
  try {
    probe_gpus({"Voodoo 2"});
    FAIL() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::BadInput);
    EXPECT_NE(error.hint().find(software_.id), std::string::npos);
  }
}

TEST_F(ProbeGpus, TakeNoneWhereThatIsAsked) { EXPECT_TRUE(probe_gpus({"none"}).empty()); }

// An integrated GPU's heap is the machine's RAM: planned on both sides, it would be there twice.
TEST(SharedMemory, IsCountedOnce) {
  const auto gpu = [](Bytes free) {
    Gpu one;
    one.total = one.free = free;
    return one;
  };
  Ram ram;
  ram.available = 16 * kGiB;
  std::vector<Gpu> gpus = {gpu(12 * kGiB)};
  divide_shared_memory(ram, gpus, {true});
  EXPECT_EQ(gpus[0].free, 8 * kGiB);
  EXPECT_EQ(ram.available, 8 * kGiB);

  ram.available = 16 * kGiB;
  gpus = {gpu(24 * kGiB), gpu(kGiB)};  // a card, and an integrated GPU with a small heap
  divide_shared_memory(ram, gpus, {false, true});
  EXPECT_EQ(gpus[0].free, 24 * kGiB);
  EXPECT_EQ(gpus[1].free, kGiB);
  EXPECT_EQ(ram.available, 15 * kGiB);

  ram.available = 16 * kGiB;
  gpus = {gpu(16 * kGiB), gpu(16 * kGiB)};  // one GPU, named twice
  divide_shared_memory(ram, gpus, {true, true});
  EXPECT_EQ(gpus[0].free + gpus[1].free + ram.available, 16 * kGiB);

  ram.available = 16 * kGiB;
  gpus = {gpu(24 * kGiB)};
  divide_shared_memory(ram, gpus, {false});
  EXPECT_EQ(ram.available, 16 * kGiB);
}

}  // namespace
}  // namespace loadline::hardware
