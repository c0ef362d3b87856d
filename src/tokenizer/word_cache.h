// The tokens of words met before in one text: most words of a text are repetitions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

// Forgets a word when another takes its place, so its size is bounded (by that of the text, and by 1 MiB).
// One thread at a time.
class WordCache {
 public:
  explicit WordCache(std::size_t text_size);

  // Appends the tokens of `word` to `out` if they are known. `out` is one vector for the life of the cache.
  bool append(std::string_view word, std::vector<Token>& out);
  // `word`, whose bytes must stay where they are, became the tokens of `out` from `begin` on.
  void remember(std::string_view word, std::size_t begin, const std::vector<Token>& out);

 private:
  struct Slot {
    std::string_view word;
    std::size_t begin = 0;
    std::size_t count = 0;
  };
  [[nodiscard]] Slot& slot_of(std::string_view word);

  std::vector<Slot> slots_;  // a power of two
};

}  // namespace loadline::tokenizer
