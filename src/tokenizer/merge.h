// The merging at the heart of both kinds of vocabulary: a text as a chain of symbols, of which neighbours are joined,
// best pair first, until no pair can be. O(n log n) in the number of symbols, whatever the pairs.
// What may be joined, and in which order, is the caller's to say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace loadline::tokenizer {

// A part of the text: `length` bytes from `begin`; `token` is -1 where the vocabulary has none for it.
struct Symbol {
  Token token;
  std::uint32_t begin;
  std::uint32_t length;  // 0: joined to the symbol before it
};

// What joining two neighbours gives: the least rank is joined first, of equal ones the leftmost.
struct Merge {
  static constexpr std::uint32_t kNone = UINT32_MAX;
  std::uint32_t rank = kNone;
  Token token = -1;
};

// Scratch memory is kept from text to text. One thread at a time.
class Merger {
 public:
  void clear() { links_.clear(); }
  void add(const Symbol& symbol) {
    const auto index = static_cast<std::uint32_t>(links_.size());
    links_.push_back({symbol, index - 1, index + 1});  // the first one's `previous` wraps to kEnd
  }

  // Joins until nothing can be joined. `find(left, right)` returns the Merge of two symbols.
  template <class Find>
  void run(Find&& find);

  // Calls `visit(symbol)` for what is left, in order.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::uint32_t i = 0; i < links_.size(); i = links_[i].next) visit(links_[i].symbol);
  }

  // Pairs looked up or taken from the queue since construction: the work done, for tests of its growth.
  [[nodiscard]] std::uint64_t pairs_examined() const { return pairs_examined_; }

 private:
  static constexpr std::uint32_t kEnd = UINT32_MAX;
  struct Link {
    Symbol symbol;
    std::uint32_t previous;
    std::uint32_t next;
  };
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t left;
    std::uint32_t right;
    std::uint32_t length;  // of both together; a candidate whose symbols have changed since has another
    Token token;
  };
  static bool later(const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.left > b.left;
  }

  template <class Find>
  bool consider(std::uint32_t left, std::uint32_t right, Find&& find);

  std::vector<Link> links_;
  std::vector<Candidate> queue_;  // a heap under `later`
  std::uint64_t pairs_examined_ = 0;
};

template <class Find>
bool Merger::consider(std::uint32_t left, std::uint32_t right, Find&& find) {
  const Symbol& a = links_[left].symbol;
  const Symbol& b = links_[right].symbol;
  ++pairs_examined_;
  const Merge merge = find(a, b);
  if (merge.rank == Merge::kNone) return false;
  queue_.push_back({merge.rank, left, right, a.length + b.length, merge.token});
  return true;
}

template <class Find>
void Merger::run(Find&& find) {
  const auto count = static_cast<std::uint32_t>(links_.size());
  queue_.clear();
  for (std::uint32_t i = 1; i < count; ++i) consider(i - 1, i, find);
  std::make_heap(queue_.begin(), queue_.end(), later);

  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), later);
    const Candidate best = queue_.back();
    queue_.pop_back();
    ++pairs_examined_;
    Link& left = links_[best.left];
    Link& right = links_[best.right];
    // Neighbours as they were? A symbol that was joined away has length 0, one that has grown another length.
    if (left.symbol.length == 0 || right.symbol.length == 0) continue;
    if (left.symbol.length + right.symbol.length != best.length) continue;

    left.symbol.token = best.token;
    left.symbol.length = best.length;
    right.symbol.length = 0;
    left.next = right.next;
    if (right.next < count) links_[right.next].previous = best.left;
    if (left.previous != kEnd && consider(left.previous, best.left, find)) {
      std::push_heap(queue_.begin(), queue_.end(), later);
    }
    if (left.next < count && consider(best.left, left.next, find)) {
      std::push_heap(queue_.begin(), queue_.end(), later);
    }
  }
}

}  // namespace loadline::tokenizer
