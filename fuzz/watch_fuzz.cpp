// Any bytes as what the kernel or a driver says: something is read, or nothing.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "watch/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace loadline;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 9) {
    case 0: (void)watch::parse_processor_times(text); break;
    case 1: (void)watch::parse_process_times(text); break;
    case 2: (void)watch::parse_task_times(text); break;
    case 3: (void)watch::parse_pressure(text); break;
    case 4: (void)watch::parse_disk(text, 8, 0); break;
    case 5: (void)watch::parse_value(text, "VmSwap"); break;
    case 6: (void)watch::parse_whole(text); break;
    case 7: (void)watch::parse_graphics_client(text); break;
    default: (void)watch::parse_clock_levels(text); break;
  }
  return 0;
}
