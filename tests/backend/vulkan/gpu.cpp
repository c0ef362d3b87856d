#include "backend/vulkan/gpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace loadline::vulkan::test {
namespace {

struct Found {
  std::string device;
  std::string why;
};

Found find_gpu() {
  std::string why;
  const auto instance = hardware::VulkanInstance::open(why);
  if (!instance) return {"", "no Vulkan here: " + why};
  if (const char* named = std::getenv("LOADLINE_TEST_GPU")) return {named, ""};
  for (const hardware::VulkanDeviceInfo& device : hardware::list_vulkan_devices(*instance)) {
    if (device.software() && device.missing.empty()) return {device.id, ""};
  }
  return {"", "no software Vulkan device (package mesa-vulkan-drivers) that the backend can use"};
}

const Found& found() {
  static const Found kTheOne = find_gpu();
  return kTheOne;
}

}  // namespace

void Messages::add(const std::string& message) {
  const std::lock_guard lock(lock_);
  all_.push_back(message);
}

std::vector<std::string> Messages::take() {
  const std::lock_guard lock(lock_);
  return std::exchange(all_, {});
}

const std::string& no_gpu() { return found().why; }

DeviceOptions options_for_tests(Messages& messages, std::optional<MatrixShape> units) {
  DeviceOptions options;
  options.device = found().device;
  options.validate = true;
  options.emulated_units = units;
  options.on_message = [&messages](const std::string& message) { messages.add(message); };
  return options;
}

Buffer Gpu::buffer(std::size_t bytes, int fill) {
  Buffer buffer(context, MemoryKind::Host, Bytes(align_up(std::max<std::size_t>(bytes, 1), 256)), "a test");
  std::memset(buffer.data(), fill, buffer.size().value);
  return buffer;
}

Buffer Gpu::filled(const void* content, std::size_t bytes) {
  Buffer target = buffer(bytes);
  std::memcpy(target.data(), content, bytes);
  return target;
}

void Gpu::run(const std::function<void(CommandList&)>& record) {
  CommandList list(context);
  list.begin(false);
  record(list);
  list.barrier_to_host();
  list.end();
  timeline.wait(timeline.submit(list, "testing"), "testing");
}

Gpu* GpuTest::shared = nullptr;

void GpuTest::SetUpTestSuite() {
  if (no_gpu().empty() && shared == nullptr) shared = new Gpu();
}

void GpuTest::TearDownTestSuite() {
  delete shared;
  shared = nullptr;
}

void GpuTest::SetUp() {
  if (!no_gpu().empty()) GTEST_SKIP() << no_gpu();
}

void GpuTest::TearDown() {
  if (shared == nullptr) return;
  for (const std::string& message : shared->messages.take()) ADD_FAILURE() << "validation layer: " << message;
}

}  // namespace loadline::vulkan::test
