#include "exec/window_pages.h"

#include <algorithm>

#include "quant/kv_page.h"

namespace loadline::exec {
namespace {

using quant::kKvPageCells;

}  // namespace

WindowPages::WindowPages(std::uint32_t pages, std::uint32_t window, std::uint32_t sequences, std::uint32_t most_cells)
    : window_(window), pool_(pages), sequences_(sequences) {
  for (Sequence& sequence : sequences_) sequence.pages.resize(pages_for(most_cells));
}

bool WindowPages::reaches(std::uint32_t sequence, std::uint32_t position) const {
  return first_seen(position) >= sequences_[sequence].first * kKvPageCells;
}

bool WindowPages::shares(std::uint32_t sequence, std::uint32_t cell) const {
  const Sequence& s = sequences_[sequence];
  const std::uint32_t number = cell / kKvPageCells;
  return number >= s.first && number < s.end && pool_.holders(s.pages[number]) > 1;
}

void WindowPages::trim(std::uint32_t sequence, std::uint32_t position) {
  Sequence& s = sequences_[sequence];
  const std::uint32_t first = std::min(first_seen(position) / kKvPageCells, s.end);
  for (; s.first < first; ++s.first) pool_.release(s.pages[s.first]);
}

bool WindowPages::take(std::uint32_t sequence, std::uint32_t end) {
  Sequence& s = sequences_[sequence];
  const std::uint32_t pages = pages_for(end);
  if (pages > s.pages.size() || pages > s.end + pool_.available()) return false;
  while (s.end < pages) s.pages[s.end++] = pool_.take();
  return true;
}

void WindowPages::cut(std::uint32_t sequence, std::uint32_t cells) {
  Sequence& s = sequences_[sequence];
  while (s.end > s.first && s.end > pages_for(cells)) pool_.release(s.pages[--s.end]);
  if (cells == 0) s.first = s.end = 0;
}

void WindowPages::replace(std::uint32_t sequence, std::uint32_t number, PageIndex page) {
  PageIndex& place = sequences_[sequence].pages[number];
  pool_.release(place);
  place = page;
}

void WindowPages::begin(std::uint32_t sequence, std::uint32_t number) {
  sequences_[sequence].first = sequences_[sequence].end = number;
}

void WindowPages::push(std::uint32_t sequence, PageIndex page) {
  Sequence& s = sequences_[sequence];
  s.pages[s.end++] = page;
}

}  // namespace loadline::exec
