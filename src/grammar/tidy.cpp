// How a matcher gets room again: it keeps what some states need, moved together, and forgets the rest. What is kept
// keeps its order, in which whatever is referred to comes first.
#include <algorithm>

#include "grammar/matcher.h"

namespace loadline::grammar {
namespace {

constexpr std::uint32_t kGone = 0xFFFFFFFF;
constexpr std::uint32_t kKept = 0;

}  // namespace

void Matcher::tidy(std::span<Configuration* const> keep) {
  ++generation_;
  rows_.clear();
  std::fill(node_ids_.begin(), node_ids_.end(), kGone);
  std::fill(configuration_ids_.begin(), configuration_ids_.end(), kGone);
  configuration_ids_[kDead] = configuration_ids_[start_] = kKept;
  for (const Configuration* c : keep) configuration_ids_[*c] = kKept;
  keep_nodes();
  keep_configurations();
  start_ = configuration_ids_[start_];
  for (Configuration* c : keep) *c = configuration_ids_[*c];
  rebuild_tables();
}

// Those that kept configurations return to, and those that these return to: callers have lower numbers.
void Matcher::keep_nodes() {
  node_ids_[0] = node_ids_[1] = kKept;
  for (Configuration c = 0; c < configurations_.size(); ++c) {
    if (configuration_ids_[c] == kGone) continue;
    for (const Item& item : items(c)) node_ids_[item.node] = kKept;
  }
  for (std::size_t n = nodes_.size(); n-- > 2;) {
    if (node_ids_[n] == kGone) continue;
    for (std::uint32_t i = nodes_[n].callers; i < nodes_[n].callers + nodes_[n].count; ++i) {
      node_ids_[callers_[i].node] = kKept;
    }
  }
  std::uint32_t used = 0;
  std::uint32_t used_callers = 0;
  for (std::uint32_t n = 0; n < nodes_.size(); ++n) {
    if (node_ids_[n] == kGone) continue;
    Node node = nodes_[n];
    for (std::uint32_t i = 0; i < node.count; ++i) {
      Caller caller = callers_[node.callers + i];
      caller.node = node_ids_[caller.node];
      callers_[used_callers + i] = caller;
    }
    node.callers = used_callers;
    node.returned = 0;
    used_callers += node.count;
    node_ids_[n] = used;
    nodes_[used++] = node;
  }
  nodes_.resize(used);
  callers_.resize(used_callers);
}

void Matcher::keep_configurations() {
  std::uint32_t used = 0;
  std::uint32_t used_items = 0;
  for (std::uint32_t c = 0; c < configurations_.size(); ++c) {
    if (configuration_ids_[c] == kGone) continue;
    Held held = configurations_[c];
    for (std::uint32_t i = 0; i < held.count; ++i) {
      Item item = items_[held.items + i];
      item.node = node_ids_[item.node];
      items_[used_items + i] = item;
    }
    held.items = used_items;
    held.row = 0;
    held.misses = 0;
    used_items += held.count;
    configuration_ids_[c] = used;
    configurations_[used++] = held;
  }
  configurations_.resize(used);
  items_.resize(used_items);
}

void Matcher::rebuild_tables() {
  std::ranges::fill(node_slots_, 0);
  std::ranges::fill(configuration_slots_, 0);
  const auto insert = [](std::vector<std::uint32_t>& slots, std::uint32_t hash, std::uint32_t id) {
    const std::size_t mask = slots.size() - 1;
    std::size_t at = hash & mask;
    while (slots[at] != 0) at = (at + 1) & mask;
    slots[at] = id;
  };
  for (std::uint32_t n = 1; n < nodes_.size(); ++n) {
    nodes_[n].hash = hash_of(nodes_[n].rule, std::span(callers_).subspan(nodes_[n].callers, nodes_[n].count));
    insert(node_slots_, nodes_[n].hash, n);
  }
  for (Configuration c = 1; c < configurations_.size(); ++c) {
    configurations_[c].hash = hash_of(items(c), configurations_[c].accepting != 0);
    insert(configuration_slots_, configurations_[c].hash, c);
  }
}

}  // namespace loadline::grammar
