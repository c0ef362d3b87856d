// SHA-256 (FIPS 180-4), for telling texts and files apart.
#pragma once

#include <string>
#include <string_view>

namespace loadline {

// In hexadecimal digits.
std::string sha256(std::string_view data);

}  // namespace loadline
