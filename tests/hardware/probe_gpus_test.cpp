// Which GPUs a run may use: llvmpipe stands for all of them.
#include <gtest/gtest.h>

#include "base/error.h"
#include "hardware/probe.h"
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

}  // namespace
}  // namespace loadline::hardware
