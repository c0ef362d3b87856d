// What the parts of OutputParser share. Internal to the module.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace loadline::chat {

inline constexpr std::string_view kBlanks = " \t\r\n";
inline constexpr std::size_t kLongestCall = std::size_t{4} << 20;  // what is longer is text
inline constexpr std::size_t kOftenBelow =
    4096;  // shorter calls are read again at every piece, longer ones as they grow

// Marks that may stand at the very end of an answer, and are none of it.
inline constexpr std::string_view kEndMarks[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "</s>",
    "<end_of_turn>",
    "<|eot|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
    "<|call|>",
    "<turn|>",
    "<|end_of_turn|>",
    "<|user|>",
    "<|observation|>",
    "[e~[",
    "<eos>",
    "<|end_of_role|>",
};

inline bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

// How many bytes at the end of `text` may be the beginning of `mark`, which is not all there.
inline std::size_t partial_length(std::string_view text, std::string_view mark) {
  const std::size_t longest = std::min(text.size(), mark.size() - 1);
  for (std::size_t length = longest; length > 0; --length) {
    if (text.ends_with(mark.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace loadline::chat
