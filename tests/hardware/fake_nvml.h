// What a fake libnvidia-ml.so.1 answers, and what it was asked. Exported by it under the name `fake_nvml`.
#pragma once

namespace loadline::test {

struct FakeNvml {
  int initialise_result = 0;  // nvmlReturn_t: 0 is success
  int memory_result = 0;
  const char* address = "";  // of the one device there is, as nvml.h writes it
  unsigned long long total = 0, free = 0;
  int users = 0;                       // initialised and not yet shut down
  int asked = 0;                       // for memory
  unsigned clock = 0, most_clock = 0;  // MHz
  unsigned temperature = 0;            // degrees C
  unsigned long long reasons = 0;      // why the clock is not higher
};

}  // namespace loadline::test
