// A HardwareProfile as JSON: written by `loadline devices --json`, read by --hardware. Sizes are bytes, rates per
// second.
#pragma once

#include <string>
#include <string_view>

#include "hardware/profile.h"

namespace loadline::hardware {

std::string to_json(const Profile& profile);

// What is missing keeps its default. Throws Error(BadInput) naming `source` and the member that is wrong.
Profile profile_from_json(std::string_view text, std::string_view source);

}  // namespace loadline::hardware
