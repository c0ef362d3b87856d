// Any bytes as a machine's description: a profile that says the same when it is written and read again, or
// Error(BadInput).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "hardware/json.h"
#include "hardware/what_if.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace loadline;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  hardware::Profile profile;
  try {
    profile = hardware::profile_from_json(text, "fuzz");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadInput) std::abort();
    return 0;
  }
  const std::string written = hardware::to_json(profile);
  if (hardware::to_json(hardware::profile_from_json(written, "written")) != written) std::abort();
  return 0;
}
