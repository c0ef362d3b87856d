#include "exec/kept_texts.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

// The pages that are found, by the name of the text up to their end.
class Chains {
 public:
  explicit Chains(const PagePool& pool) : pool_(pool), texts_(pool.pages(), 0) {
    for (PageIndex page = 0; page < pool.pages(); ++page) {
      if (pool.use(page).listed && pool.name(page) != 0) by_name_.emplace(pool.name(page), page);
    }
  }

  // The page before; kNoPage for a first one, and where that is not found any more.
  [[nodiscard]] PageIndex before(PageIndex page) const {
    const auto found = by_name_.find(pool_.use(page).before);
    return found == by_name_.end() ? kNoPage : found->second;
  }
  // First to last; empty where it does not begin with a first page.
  [[nodiscard]] std::vector<PageIndex> up_to(PageIndex last) const {
    std::vector<PageIndex> pages;
    PageIndex page = last;
    for (; page != kNoPage; page = before(page)) pages.push_back(page);
    if (pool_.use(pages.back()).before != kEmptyText) pages.clear();
    std::ranges::reverse(pages);
    return pages;
  }
  // The last pages of texts that nothing follows.
  [[nodiscard]] std::vector<PageIndex> ends() const {
    std::vector<bool> followed(pool_.pages());
    std::vector<PageIndex> out;
    for (PageIndex page = 0; page < pool_.pages(); ++page) {
      const PageIndex parent = pool_.use(page).listed ? before(page) : kNoPage;
      if (parent != kNoPage) followed[parent] = true;
    }
    for (PageIndex page = 0; page < pool_.pages(); ++page) {
      if (pool_.use(page).listed && !followed[page]) out.push_back(page);
    }
    return out;
  }
  // Counts the texts that each page belongs to.
  void count(const std::vector<PageIndex>& pages) {
    for (const PageIndex page : pages) ++texts_[page];
  }
  [[nodiscard]] std::uint32_t texts(PageIndex page) const { return texts_[page]; }

 private:
  const PagePool& pool_;
  std::unordered_map<TextName, PageIndex> by_name_;
  std::vector<std::uint32_t> texts_;
};

// How many pinned pages there are behind each text.
using GoesOn = std::unordered_map<TextName, std::uint32_t>;

GoesOn count_pinned(const PagePool& pool) {
  GoesOn goes_on;
  for (PageIndex page = 0; page < pool.pages(); ++page) {
    if (pool.use(page).pinned) ++goes_on[pool.use(page).before];
  }
  return goes_on;
}

// Whether what is pinned of a text was pinned for it, and not for a longer one that begins so.
bool is_pinned_itself(const PagePool& pool, const GoesOn& goes_on, const std::vector<PageIndex>& pages) {
  const auto last =
      std::ranges::find_if(pages.rbegin(), pages.rend(), [&](PageIndex page) { return pool.use(page).pinned; });
  return last != pages.rend() && !goes_on.contains(pool.name(*last));
}

KeptText describe_text(const PagePool& pool, const Chains& chains, const std::vector<PageIndex>& pages,
                       std::size_t told) {
  KeptText text;
  text.last = pages.back();
  text.before = pool.use(text.last).before;
  text.used = pool.use(text.last).used;
  for (const PageIndex page : pages) {
    const PagePool::Use use = pool.use(page);
    const std::uint32_t cells = pool.known(page);
    text.cells += cells;
    if (chains.texts(page) > 1) text.shared += cells;
    if (use.pinned) text.pinned += cells;
    text.hits = std::max(text.hits, use.hits);
    text.found += std::uint64_t{use.hits} * cells;
    for (const Token token : pool.tokens(page)) {
      if (text.beginning.size() < told) text.beginning.push_back(token);
    }
  }
  text.held = pool.holders(text.last) > (pool.use(text.last).pinned ? 1U : 0U);
  for (std::size_t i = pages.size(); i-- > 0 && text.end.size() < told;) {
    const auto tokens = pool.tokens(pages[i]);
    const std::size_t count = std::min(tokens.size(), told - text.end.size());
    text.end.insert(text.end.begin(), tokens.end() - static_cast<std::ptrdiff_t>(count), tokens.end());
  }
  return text;
}

void unpin_from_end(PagePool& pool, const std::vector<PageIndex>& pages) {
  GoesOn goes_on = count_pinned(pool);
  for (std::size_t i = pages.size(); i-- > 0;) {
    const TextName name = pool.name(pages[i]);
    if (name != 0 && goes_on[name] > 0) break;  // another pinned text begins with this page
    if (pool.use(pages[i]).pinned) --goes_on[pool.use(pages[i]).before];
    pool.unpin(pages[i]);
  }
}

}  // namespace

std::vector<KeptText> kept_texts(const KvCache& cache, std::size_t told) {
  const PagePool& pool = cache.pool();
  Chains chains(pool);
  std::vector<std::vector<PageIndex>> texts;
  for (const PageIndex end : chains.ends()) {
    std::vector<PageIndex> pages = chains.up_to(end);
    if (pages.empty()) continue;
    chains.count(pages);
    texts.push_back(std::move(pages));
  }
  const GoesOn goes_on = count_pinned(pool);
  std::vector<KeptText> out;
  for (const auto& pages : texts) {
    out.push_back(describe_text(pool, chains, pages, told));
    if (!is_pinned_itself(pool, goes_on, pages)) out.back().pinned = 0;
  }
  std::ranges::stable_sort(out, std::ranges::greater{}, &KeptText::used);
  return out;
}

std::uint32_t pin_text(KvCache& cache, PageIndex last, TextName before, bool pinned) {
  PagePool& pool = cache.pool();
  const bool there = last < pool.pages() && pool.use(last).listed && pool.use(last).before == before;
  const std::vector<PageIndex> pages = there ? Chains(pool).up_to(last) : std::vector<PageIndex>();
  if (pages.empty()) throw bad_input("the cache does not keep that text any more");
  if (!pinned) {
    unpin_from_end(pool, pages);
    return 0;
  }
  if (!cache.can_pin()) {
    throw bad_input("this model's caches keep the last positions of a text only, or states: there are no pages to pin");
  }
  std::vector<PageIndex> wanted;
  for (const PageIndex page : pages) {
    const bool written_to = pool.known(page) < quant::kKvPageCells && pool.holders(page) > 0;
    if (!written_to && !pool.use(page).pinned) wanted.push_back(page);
  }
  if (pool.pinned_pages() + wanted.size() > pool.pages() / 2) {
    throw Error(ErrorCode::DoesNotFit, "no more than half of the cache can be pinned", "Unpin another text first.");
  }
  for (const PageIndex page : wanted) pool.pin(page);
  std::uint32_t cells = 0;
  for (const PageIndex page : pages) cells += pool.use(page).pinned ? pool.known(page) : 0;
  return cells;
}

}  // namespace loadline::exec
