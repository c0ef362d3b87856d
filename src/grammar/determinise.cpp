// The subset construction: from an automaton with several ways on to one with a single way, rule by rule. Calls of
// rules and whole tokens are symbols like bytes. Where it would take many more states, the automaton is left as it is,
// and Matcher follows all its ways together.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "grammar/nfa.h"

namespace loadline::grammar {
namespace {

using Set = std::vector<std::uint32_t>;

class Determiniser {
 public:
  explicit Determiniser(const Nfa& nfa) : nfa_(nfa), most_(2 * std::size_t{nfa.states} + 256) {
    begins_.assign(nfa.states + 1, 0);
    for (const NfaEdge& edge : nfa.edges) ++begins_[edge.from + 1];
    for (std::size_t i = 1; i < begins_.size(); ++i) begins_[i] += begins_[i - 1];
    edges_.resize(nfa.edges.size());
    std::vector<std::uint32_t> at(begins_.begin(), begins_.end() - 1);
    for (const NfaEdge& edge : nfa.edges) edges_[at[edge.from]++] = edge;
    seen_.assign(nfa.states, 0);
  }

  // False where it would take too many states.
  bool run() {
    Set start{0};
    id_of(start);
    for (std::uint32_t id = 0; id < sets_.size(); ++id) {
      if (sets_.size() > most_ || work_ > kMostWork) return false;
      add_state(id);
    }
    return true;
  }

  RuleAutomaton take() { return {std::move(states_)}; }

  // The automaton as it is.
  RuleAutomaton undetermined() {
    RuleAutomaton result;
    result.states.resize(nfa_.states);
    for (std::uint32_t i = 0; i < nfa_.states; ++i) {
      RuleAutomaton::State& state = result.states[i];
      state.final = i == nfa_.accepting;
      for (std::uint32_t e = begins_[i]; e < begins_[i + 1]; ++e) add_edge(state, edges_[e], edges_[e].to);
      std::ranges::sort(state.bytes, {}, &Grammar::ByteEdge::first);
    }
    return result;
  }

 private:
  // Steps that are tried: beyond, the rule stays as it is.
  static constexpr std::size_t kMostWork = 4'000'000;

  static void add_edge(RuleAutomaton::State& state, const NfaEdge& edge, std::uint32_t to) {
    switch (edge.kind) {
      case NfaEdge::Kind::Epsilon: state.epsilons.push_back(to); break;
      case NfaEdge::Kind::Bytes: state.bytes.push_back({edge.first, edge.last, to}); break;
      case NfaEdge::Kind::Call: state.calls.push_back({edge.index, to}); break;
      case NfaEdge::Kind::OneToken: state.tokens.push_back({static_cast<Token>(edge.index), false, to}); break;
      case NfaEdge::Kind::AnyButToken: state.tokens.push_back({static_cast<Token>(edge.index), true, to}); break;
    }
  }

  // All that `set` reaches without taking anything; only the states that matter later are kept.
  void close(Set& set) {
    ++generation_;
    stack_.clear();
    for (const std::uint32_t state : set) {
      if (seen_[state] == generation_) continue;
      seen_[state] = generation_;
      stack_.push_back(state);
    }
    set.clear();
    while (!stack_.empty()) {
      const std::uint32_t state = stack_.back();
      stack_.pop_back();
      bool matters = state == nfa_.accepting;
      for (std::uint32_t e = begins_[state]; e < begins_[state + 1]; ++e) {
        ++work_;
        const NfaEdge& edge = edges_[e];
        if (edge.kind != NfaEdge::Kind::Epsilon) {
          matters = true;
        } else if (seen_[edge.to] != generation_) {
          seen_[edge.to] = generation_;
          stack_.push_back(edge.to);
        }
      }
      if (matters) set.push_back(state);
    }
    std::ranges::sort(set);
  }

  std::uint32_t id_of(Set& set) {
    close(set);
    std::uint64_t hash = 0xCBF29CE484222325U;
    for (const std::uint32_t state : set) hash = (hash ^ state) * 0x100000001B3U;
    work_ += set.size();
    const auto [begin, end] = ids_.equal_range(hash);
    for (auto at = begin; at != end; ++at) {
      if (sets_[at->second] == set) return at->second;
    }
    const auto id = static_cast<std::uint32_t>(sets_.size());
    ids_.emplace(hash, id);
    sets_.push_back(set);
    return id;
  }

  void add_state(std::uint32_t id) {
    RuleAutomaton::State state;
    symbols_.clear();
    std::array<bool, 257> cut{};
    std::size_t byte_edges = 0;
    for (const std::uint32_t from : sets_[id]) {
      if (from == nfa_.accepting) state.final = true;
      for (std::uint32_t e = begins_[from]; e < begins_[from + 1]; ++e) {
        const NfaEdge& edge = edges_[e];
        if (edge.kind == NfaEdge::Kind::Bytes) {
          cut[edge.first] = true;
          cut[std::size_t{edge.last} + 1] = true;
          ++byte_edges;
        } else if (edge.kind != NfaEdge::Kind::Epsilon) {
          symbols_.push_back(e);
        }
      }
    }
    if (byte_edges != 0) add_bytes(id, cut, state);
    add_symbols(state);
    states_.resize(std::max<std::size_t>(states_.size(), id + 1));
    states_[id] = std::move(state);
  }

  void add_bytes(std::uint32_t id, const std::array<bool, 257>& cut, RuleAutomaton::State& state) {
    // The stretches of bytes between cuts, each with the states that it leads to.
    std::array<std::uint16_t, 256> stretch{};
    std::vector<unsigned> begins;
    for (unsigned byte = 0; byte < 256; ++byte) {
      if (cut[byte] || begins.empty()) begins.push_back(byte);
      stretch[byte] = static_cast<std::uint16_t>(begins.size() - 1);
    }
    std::vector<Set> targets(begins.size());
    for (const std::uint32_t from : sets_[id]) {
      for (std::uint32_t e = begins_[from]; e < begins_[from + 1]; ++e) {
        const NfaEdge& edge = edges_[e];
        if (edge.kind != NfaEdge::Kind::Bytes) continue;
        for (std::size_t s = stretch[edge.first]; s <= stretch[edge.last]; ++s) {
          targets[s].push_back(edge.to);
          ++work_;
        }
      }
    }
    for (std::size_t s = 0; s < targets.size(); ++s) {
      if (targets[s].empty()) continue;
      const auto first = static_cast<std::uint8_t>(begins[s]);
      const auto last = static_cast<std::uint8_t>(s + 1 < begins.size() ? begins[s + 1] - 1 : 255);
      const std::uint32_t to = id_of(targets[s]);
      if (!state.bytes.empty() && state.bytes.back().to == to && state.bytes.back().last + 1 == first) {
        state.bytes.back().last = last;
      } else {
        state.bytes.push_back({first, last, to});
      }
    }
  }

  void add_symbols(RuleAutomaton::State& state) {
    const auto symbol = [&](std::uint32_t e) { return std::pair(edges_[e].kind, edges_[e].index); };
    std::ranges::sort(symbols_, {}, symbol);
    for (std::size_t i = 0; i < symbols_.size();) {
      Set set;
      std::size_t end = i;
      while (end < symbols_.size() && symbol(symbols_[end]) == symbol(symbols_[i])) {
        set.push_back(edges_[symbols_[end++]].to);
      }
      add_edge(state, edges_[symbols_[i]], id_of(set));
      i = end;
    }
  }

  const Nfa& nfa_;
  std::size_t most_;
  std::size_t work_ = 0;
  std::vector<std::uint32_t> begins_;
  std::vector<NfaEdge> edges_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t generation_ = 0;
  std::vector<std::uint32_t> stack_;
  std::vector<std::uint32_t> symbols_;
  std::vector<Set> sets_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> ids_;
  std::vector<RuleAutomaton::State> states_;
};

}  // namespace

RuleAutomaton determinise(const Nfa& nfa) {
  Determiniser determiniser(nfa);
  return determiniser.run() ? determiniser.take() : determiniser.undetermined();
}

}  // namespace loadline::grammar
