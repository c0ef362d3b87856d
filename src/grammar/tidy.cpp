// How a matcher gets room again: it keeps what some states need, moved together, and forgets the rest. What is kept
// keeps its order, in which whatever is referred to comes first.
#include <algorithm>
#include <vector>

#include "grammar/matcher.h"

namespace loadline::grammar {
namespace {

constexpr std::uint32_t kGone = 0xFFFFFFFF;
constexpr std::uint32_t kKept = 0;

// Moves the records that `ids` does not say are gone together, each with its stretch of parts, which begins at its
// member `begin`. `ids` becomes what they are called; the nodes of parts are renamed by `node_ids`, which may be `ids`
// itself where parts name earlier records alone.
template <class Record, class Part>
void keep_marked(std::vector<Record>& records, std::uint32_t Record::* begin, std::vector<Part>& parts,
                 std::vector<std::uint32_t>& ids, const std::vector<std::uint32_t>& node_ids) {
  std::uint32_t used = 0;
  std::uint32_t used_parts = 0;
  for (std::uint32_t r = 0; r < records.size(); ++r) {
    if (ids[r] == kGone) continue;
    Record record = records[r];
    for (std::uint32_t i = 0; i < record.count; ++i) {
      Part part = parts[record.*begin + i];
      part.node = node_ids[part.node];
      parts[used_parts + i] = part;
    }
    record.*begin = used_parts;
    used_parts += record.count;
    ids[r] = used;
    records[used++] = record;
  }
  records.resize(used);
  parts.resize(used_parts);
}

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
  keep_marked(nodes_, &Node::callers, callers_, node_ids_, node_ids_);
  for (Node& node : nodes_) node.returned = 0;
}

void Matcher::keep_configurations() {
  keep_marked(configurations_, &Held::items, items_, configuration_ids_, node_ids_);
  for (Held& held : configurations_) held.row = held.misses = 0;
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
