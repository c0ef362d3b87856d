#include "chat/stop_strings.h"

#include <algorithm>

#include "chat/jinja/text_search.h"

namespace loadline::chat {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopStrings::push(std::string_view text) {
  if (stopped()) return {};
  held_ += text;
  // The one that is complete first; of several, the one that began first.
  std::size_t begin = 0;
  std::size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = jinja::find_text(held_, stop);
    if (at == std::string::npos) continue;
    const std::size_t stop_end = at + stop.size();
    if (stop_end < end || (stop_end == end && at < begin)) {
      begin = at;
      end = stop_end;
      found_ = stop;
    }
  }
  if (stopped()) {
    std::string out = held_.substr(0, begin);
    held_.clear();
    return out;
  }
  std::size_t keep = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t length = std::min(stop.size() - 1, held_.size()); length > keep; --length) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length))) {
        keep = length;
        break;
      }
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopStrings::finish() {
  std::string out;
  if (!stopped()) out.swap(held_);
  held_.clear();
  return out;
}

}  // namespace loadline::chat
