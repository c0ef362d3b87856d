// What the cache keeps of texts, as people are shown it: which there are, how they were used, and pinning one, so that
// its pages are not taken for others. It reads and pins PagePool's pages, and keeps nothing itself.
#pragma once

#include <cstdint>
#include <vector>

#include "exec/kv_cache.h"

namespace loadline::exec {

// A text that is found in the cache as far as it is the same: pages behind each other up to one that none follows.
struct KeptText {
  PageIndex last = kNoPage;  // its last page, and what the pages before that hold: with both it is named
  TextName before = 0;
  std::uint32_t cells = 0;
  std::uint32_t shared = 0;  // of them, those that other texts begin with too
  std::uint32_t pinned = 0;  // of them, those in pinned pages; 0 where these are pinned for a longer text alone
  std::uint32_t hits = 0;    // how often its beginning was found
  std::uint64_t found = 0;   // cells that were not computed again for it
  std::uint32_t used = 0;    // its end was; s, as KvCache::set_time had it
  bool held = false;         // a session goes on with it
  std::vector<Token> beginning, end;
};

// What was used last comes first. The first and the last so many tokens of each are told.
std::vector<KeptText> kept_texts(const KvCache& cache, std::size_t told);

// Pins what nobody is writing to of a text, or gives it free; cells that are pinned of it then. Of pages that it has in
// common with others, those stay pinned that another pinned text has. Throws Error(BadInput) where there is no such
// text any more or the model's caches do not keep all of it, and Error(DoesNotFit) where less than half of the cache
// would be left.
std::uint32_t pin_text(KvCache& cache, PageIndex last, TextName before, bool pinned);

}  // namespace loadline::exec
