#include "tokenizer/word_cache.h"

#include <algorithm>
#include <bit>

#include "tokenizer/hash.h"

namespace loadline::tokenizer {
namespace {

constexpr std::size_t kMostSlots = 32768;
constexpr std::size_t kLongestWord = 64;  // longer ones are seldom repeated

}  // namespace

WordCache::WordCache(std::size_t text_size) : slots_(std::min(std::bit_ceil(text_size / 16 + 1), kMostSlots)) {}

WordCache::Slot& WordCache::slot_of(std::string_view word) {
  return slots_[hash_bytes(word, hash_seed()) & (slots_.size() - 1)];
}

bool WordCache::append(std::string_view word, std::vector<Token>& out) {
  if (word.size() > kLongestWord) return false;
  const Slot& slot = slot_of(word);
  if (slot.word != word || slot.count == 0) return false;
  for (std::size_t i = 0; i < slot.count; ++i) out.push_back(out[slot.begin + i]);
  return true;
}

void WordCache::remember(std::string_view word, std::size_t begin, const std::vector<Token>& out) {
  if (word.size() > kLongestWord) return;
  slot_of(word) = {word, begin, out.size() - begin};
}

}  // namespace loadline::tokenizer
