// What all readers of calls share. Internal to the module.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/call_readers.h"

namespace loadline::chat {

inline constexpr std::string_view kCallBlanks = " \t\r\n";

inline Reading rejected() { return {Reading::Status::Reject, 0, {}}; }
inline Reading unfinished(std::vector<CallDraft> calls, const ReadContext& context) {
  if (context.final) return rejected();
  return {Reading::Status::More, 0, std::move(calls)};
}

inline std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kCallBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kCallBlanks) + 1 - begin);
}

// What functions can be called.
inline bool is_name(std::string_view name) {
  if (name.empty() || name.size() > 256) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.' || c == ':' || c == '/' || (static_cast<unsigned char>(c) >= 0x80);
  });
}

}  // namespace loadline::chat
