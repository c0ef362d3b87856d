// NVIDIA's management library where it is not, where it is, and where it does not answer. A fake is loaded by its path;
// it bears the real one's name, under which it is then found.
#include "hardware/nvml.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "hardware/fake_nvml.h"

namespace loadline::hardware {
namespace {

VulkanDeviceInfo device_at(std::uint32_t domain, std::uint32_t bus, std::uint32_t number) {
  VulkanDeviceInfo device;
  device.has_pci = true;
  device.pci_domain = domain;
  device.pci_bus = bus;
  device.pci_device = number;
  return device;
}

// The library as long as this lives.
class Installed {
 public:
  explicit Installed(const char* path = LOADLINE_FAKE_NVML) : library_(::dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) throw std::runtime_error(::dlerror());
    nvml_ = static_cast<test::FakeNvml*>(::dlsym(library_, "fake_nvml"));
    *nvml_ = {};
    nvml_->address = "00000000:3b:00.0";
    nvml_->total = (24 * kGiB).value;
    nvml_->free = (17 * kGiB).value;  // the rest is other processes'
  }
  ~Installed() { ::dlclose(library_); }
  Installed(const Installed&) = delete;
  Installed& operator=(const Installed&) = delete;
  test::FakeNvml* operator->() const { return nvml_; }

 private:
  void* library_;
  test::FakeNvml* nvml_;
};

class Nvml : public testing::Test {
 protected:
  void SetUp() override {
    void* real = ::dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (real == nullptr) return;
    ::dlclose(real);
    GTEST_SKIP() << "this machine has the real library";
  }
};

TEST_F(Nvml, says_nothing_where_it_is_not_installed) {
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), std::nullopt);
  {
    const Installed nvml;
  }
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), std::nullopt) << "the fake stayed";
}

TEST_F(Nvml, says_what_other_processes_leave_free) {
  const Installed nvml;
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), 17 * kGiB);
  nvml->free = 5;
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), Bytes(5)) << "asked anew each time";
  EXPECT_EQ(nvml->asked, 2);
  EXPECT_EQ(nvml->users, 0) << "shut down after each use";
}

TEST_F(Nvml, finds_the_device_by_its_address) {
  const Installed nvml;
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3c, 0)), std::nullopt);
  EXPECT_EQ(nvml_free_memory(device_at(1, 0x3b, 0)), std::nullopt);
  nvml->address = "0000a001:ff:1f.0";
  EXPECT_EQ(nvml_free_memory(device_at(0xa001, 0xff, 0x1f)), 17 * kGiB);
  VulkanDeviceInfo nowhere = device_at(0xa001, 0xff, 0x1f);
  nowhere.has_pci = false;
  EXPECT_EQ(nvml_free_memory(nowhere), std::nullopt);
  EXPECT_EQ(nvml->users, 0);
}

TEST_F(Nvml, is_not_believed_where_it_fails) {
  const Installed nvml;
  nvml->memory_result = 999;
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), std::nullopt);
  EXPECT_EQ(nvml->users, 0);
  nvml->memory_result = 0;
  nvml->initialise_result = 9;  // no driver is loaded
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), std::nullopt);
  EXPECT_EQ(nvml->users, 0) << "what did not start is not shut down";
}

TEST_F(Nvml, says_what_a_card_does_again_and_again) {
  const Installed nvml;
  nvml->clock = 600;
  nvml->most_clock = 1980;
  nvml->temperature = 91;
  nvml->reasons = 0x40 | 0x4;  // heat, and a power cap
  const NvmlDevice card("0000:3b:00.0");
  auto state = card.read();
  ASSERT_TRUE(state);
  EXPECT_EQ(state->total, 24 * kGiB);
  EXPECT_EQ(state->used, 7 * kGiB);
  EXPECT_DOUBLE_EQ(*state->clock, 6e8);
  EXPECT_DOUBLE_EQ(*state->most_clock, 1.98e9);
  EXPECT_DOUBLE_EQ(*state->temperature, 91);
  EXPECT_TRUE(*state->slowed);
  nvml->reasons = 0x4;
  state = card.read();
  EXPECT_FALSE(*state->slowed) << "a power cap is how such cards run";
  EXPECT_FALSE(NvmlDevice("0000:3c:00.0").read());
  EXPECT_FALSE(NvmlDevice("").read());
}

TEST_F(Nvml, of_another_time_is_left_alone) {
  const Installed nvml(LOADLINE_FAKE_NVML_OLD);
  EXPECT_EQ(nvml_free_memory(device_at(0, 0x3b, 0)), std::nullopt);
  EXPECT_EQ(nvml->users, 0);
}

}  // namespace
}  // namespace loadline::hardware
