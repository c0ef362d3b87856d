// The flags behind what library errors are about.
#pragma once

#include <string>

#include "base/setting.h"

namespace loadline::cli {

// "-c", "--temp": how a user sets it here; empty for Setting::None.
std::string flag_of(Setting setting);

}  // namespace loadline::cli
