// From the parts of a regular expression to the automaton of the texts that match.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "grammar/regex.h"

namespace loadline::grammar {
namespace {

// Follows all ways through a pattern together. An anchor is a way on that takes nothing, open at one end of the text.
class PatternDeterminiser {
 public:
  PatternDeterminiser(const std::vector<Regex::Part>& parts, std::uint32_t root, bool anywhere) : parts_(parts) {
    const std::uint32_t start = add_state();
    const std::uint32_t end = write(root, start);
    accepting_ = end;
    if (anywhere) {
      // In front: any text, but only the place at its very beginning is open for "^".
      const std::uint32_t before = add_state();
      edges_[before].push_back({Way::Set, before, any_set()});
      edges_[before].push_back({Way::Free, start, 0});
      start_ = before;
      accepting_ = add_state();
      edges_[end].push_back({Way::Free, accepting_, 0});
      edges_[accepting_].push_back({Way::Set, accepting_, any_set()});
      anything_ = accepting_;
    }
  }

  CharDfa run() {
    CharDfa dfa;
    id_of({start_}, true);
    for (std::uint32_t id = 0; id < sets_.size(); ++id) dfa.states.push_back(state_of(id));
    return pruned(dfa);
  }

 private:
  enum class Way : std::uint8_t { Free, AtStart, AtEnd, Set };
  struct Edge {
    Way way;
    std::uint32_t to;
    std::uint32_t set;
  };
  struct Member {
    CodePointRange on;
    std::uint32_t to;
  };
  static constexpr std::size_t kMostNfaStates = 200'000;
  static constexpr std::size_t kMostWork = 20'000'000;

  [[noreturn]] static void refuse() {
    throw bad_input("the regular expression needs too many states", "Repeat fewer times.");
  }

  std::uint32_t add_state() {
    if (edges_.size() == kMostNfaStates) refuse();
    edges_.emplace_back();
    return static_cast<std::uint32_t>(edges_.size() - 1);
  }
  std::uint32_t any_set() {
    any_.add({0, kLastCodePoint});
    return kAny;
  }
  [[nodiscard]] const CodePointSet& set(std::uint32_t index) const { return index == kAny ? any_ : parts_[index].set; }

  std::uint32_t write(std::uint32_t id, std::uint32_t from) {
    using Kind = Regex::Part::Kind;
    const Regex::Part& part = parts_[id];
    switch (part.kind) {
      case Kind::Set:
      case Kind::Start:
      case Kind::End: {
        const std::uint32_t to = add_state();
        const Way way = part.kind == Kind::Set ? Way::Set : part.kind == Kind::Start ? Way::AtStart : Way::AtEnd;
        edges_[from].push_back({way, to, id});
        return to;
      }
      case Kind::Sequence:
        for (const std::uint32_t child : part.children) from = write(child, from);
        return from;
      case Kind::Choice: {
        const std::uint32_t to = add_state();
        for (const std::uint32_t child : part.children) edges_[write(child, from)].push_back({Way::Free, to, 0});
        return to;
      }
      case Kind::Repeat: break;
    }
    const std::uint32_t item = part.children[0];
    for (std::uint32_t i = 0; i < part.least; ++i) from = write(item, from);
    if (part.most == kUnbounded) {
      const std::uint32_t loop = add_state();
      edges_[from].push_back({Way::Free, loop, 0});
      edges_[write(item, loop)].push_back({Way::Free, loop, 0});
      const std::uint32_t to = add_state();
      edges_[loop].push_back({Way::Free, to, 0});
      return to;
    }
    if (part.most == part.least) return from;
    const std::uint32_t to = add_state();
    for (std::uint32_t i = part.least; i < part.most; ++i) {
      edges_[from].push_back({Way::Free, to, 0});
      from = write(item, from);
    }
    edges_[from].push_back({Way::Free, to, 0});
    return to;
  }

  std::vector<std::uint32_t> closed(std::vector<std::uint32_t> set, bool at_start, bool at_end) {
    seen_.resize(edges_.size(), 0);
    ++generation_;
    for (const std::uint32_t state : set) seen_[state] = generation_;
    for (std::size_t i = 0; i < set.size(); ++i) {
      if (++work_ > kMostWork) refuse();
      for (const Edge& edge : edges_[set[i]]) {
        const bool open =
            edge.way == Way::Free || (edge.way == Way::AtStart && at_start) || (edge.way == Way::AtEnd && at_end);
        if (!open || seen_[edge.to] == generation_) continue;
        seen_[edge.to] = generation_;
        set.push_back(edge.to);
      }
    }
    std::ranges::sort(set);
    return set;
  }

  std::uint32_t id_of(std::vector<std::uint32_t> set, bool at_start) {
    set = closed(std::move(set), at_start, false);
    if (anything_ != kAny && std::ranges::binary_search(set, anything_)) set.assign(1, anything_);
    std::uint64_t hash = at_start ? 3 : 1;
    for (const std::uint32_t state : set) hash = (hash ^ state) * 0x9E3779B97F4A7C15U;
    const auto [begin, end] = ids_.equal_range(hash);
    for (auto at = begin; at != end; ++at) {
      if (sets_[at->second].first == set && sets_[at->second].second == at_start) return at->second;
    }
    if (sets_.size() >= CharDfa::kMostStates) refuse();
    const auto id = static_cast<std::uint32_t>(sets_.size());
    ids_.emplace(hash, id);
    sets_.emplace_back(std::move(set), at_start);
    return id;
  }

  CharDfa::State state_of(std::uint32_t id) {
    const auto [members, at_start] = sets_[id];
    CharDfa::State state;
    state.accepting = std::ranges::binary_search(closed(members, at_start, true), accepting_);
    std::vector<Member> ways;
    std::vector<char32_t> cuts;
    for (const std::uint32_t member : members) {
      for (const Edge& edge : edges_[member]) {
        if (edge.way != Way::Set) continue;
        for (const CodePointRange& range : set(edge.set).ranges()) {
          ways.push_back({range, edge.to});
          cuts.push_back(range.first);
          cuts.push_back(range.last + 1);
        }
      }
    }
    std::ranges::sort(cuts);
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      std::vector<std::uint32_t> targets;
      for (const Member& way : ways) {
        if (way.on.first <= cuts[i] && way.on.last >= cuts[i]) targets.push_back(way.to);
      }
      work_ += ways.size() / 8;
      if (targets.empty()) continue;
      std::ranges::sort(targets);
      targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
      const std::uint32_t to = id_of(std::move(targets), false);
      const CodePointRange on{cuts[i], cuts[i + 1] - 1};
      if (!state.edges.empty() && state.edges.back().to == to && state.edges.back().on.last + 1 == on.first) {
        state.edges.back().on.last = on.last;
      } else {
        state.edges.push_back({on, to});
      }
    }
    return state;
  }

  static constexpr std::uint32_t kAny = 0xFFFFFFFF;

  const std::vector<Regex::Part>& parts_;
  std::vector<std::vector<Edge>> edges_;
  CodePointSet any_;
  std::uint32_t start_ = 0;
  std::uint32_t accepting_ = 0;
  std::uint32_t anything_ = kAny;
  std::vector<std::uint32_t> seen_;
  std::uint32_t generation_ = 0;
  std::size_t work_ = 0;
  std::vector<std::pair<std::vector<std::uint32_t>, bool>> sets_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> ids_;
};

}  // namespace

CharDfa Regex::compile(bool anywhere) const { return PatternDeterminiser(parts_, root_, anywhere).run(); }

}  // namespace loadline::grammar
