// What a call of a tool begins with in each of the ways in which models write them, and who reads it.
#pragma once

#include <string_view>
#include <vector>

#include "chat/call_readers.h"
#include "chat/output_format.h"

namespace loadline::chat {

using CallReader = Reading (*)(std::string_view text, const ReadContext& context);

struct CallOpener {
  std::string_view mark;
  CallReader read = nullptr;  // null: the mark itself is dropped
};

struct CallOpeners {
  std::vector<CallOpener> openers;
  CallReader bare = nullptr;  // of calls without a mark, at the beginning of the content; null: there are none
};
CallOpeners call_openers(OutputFormat format);

}  // namespace loadline::chat
