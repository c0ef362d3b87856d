#include "chat/jinja/text_search.h"

#include <algorithm>
#include <cstring>

namespace loadline::chat::jinja {

std::size_t find_text(std::string_view text, std::string_view what, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (what.empty()) return from;
  // memmem is linear (glibc's two-way search), std::string_view::find is not.
  const void* at = ::memmem(text.data() + from, text.size() - from, what.data(), what.size());
  return at == nullptr ? std::string_view::npos : static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
}

std::size_t find_last_text(std::string_view text, std::string_view what) {
  if (what.empty()) return text.size();
  const std::string reversed_text(text.rbegin(), text.rend());
  const std::string reversed_what(what.rbegin(), what.rend());
  const std::size_t at = find_text(reversed_text, reversed_what);
  return at == std::string_view::npos ? at : text.size() - at - what.size();
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&#34;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace loadline::chat::jinja
