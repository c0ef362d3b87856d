// A libnvidia-ml.so.1 with one device, made for tests. With LOADLINE_FAKE_NVML_OLD it lacks a function, as a library of
// another time would.
#include "hardware/fake_nvml.h"

#include <cstring>

namespace {

struct Memory {  // nvmlMemory_t
  unsigned long long total, free, used;
};
constexpr int kNotFound = 6;       // NVML_ERROR_NOT_FOUND
constexpr int kUninitialised = 1;  // NVML_ERROR_UNINITIALIZED

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): the names are NVML's.
extern "C" {

loadline::test::FakeNvml fake_nvml;

int nvmlInit_v2() {
  if (fake_nvml.initialise_result == 0) ++fake_nvml.users;
  return fake_nvml.initialise_result;
}

int nvmlShutdown() {
  --fake_nvml.users;
  return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** handle) {
  if (fake_nvml.users <= 0) return kUninitialised;
  if (std::strcmp(address, fake_nvml.address) != 0) return kNotFound;
  *handle = &fake_nvml;
  return 0;
}

#ifndef LOADLINE_FAKE_NVML_OLD
int nvmlDeviceGetClockInfo(void*, unsigned, unsigned* megahertz) {
  *megahertz = fake_nvml.clock;
  return 0;
}
int nvmlDeviceGetMaxClockInfo(void*, unsigned, unsigned* megahertz) {
  *megahertz = fake_nvml.most_clock;
  return 0;
}
int nvmlDeviceGetTemperature(void*, unsigned, unsigned* degrees) {
  *degrees = fake_nvml.temperature;
  return 0;
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long* reasons) {
  *reasons = fake_nvml.reasons;
  return 0;
}
int nvmlDeviceGetMemoryInfo(void* handle, Memory* memory) {
  if (fake_nvml.users <= 0 || handle != &fake_nvml) return kUninitialised;
  ++fake_nvml.asked;
  *memory = {fake_nvml.total, fake_nvml.free, fake_nvml.total - fake_nvml.free};
  return fake_nvml.memory_result;
}
#endif
}
// NOLINTEND(readability-identifier-naming)
