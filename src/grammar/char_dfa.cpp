#include "grammar/char_dfa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"

namespace loadline::grammar {
namespace {

constexpr std::uint32_t kNoState = 0xFFFFFFFF;

Error too_large() {
  return bad_input("the conditions on a text need too many states together",
                   "Give a shorter pattern, or a smaller length with it.");
}

// Edges in order, neighbours with the same target joined.
void add_edge(std::vector<CharDfa::Edge>& edges, CodePointRange on, std::uint32_t to) {
  if (!edges.empty() && edges.back().to == to && edges.back().on.last + 1 == on.first) {
    edges.back().on.last = on.last;
  } else {
    edges.push_back({on, to});
  }
}

}  // namespace

bool CharDfa::accepts(std::u32string_view text) const {
  if (states.empty()) return false;
  std::uint32_t state = 0;
  for (const char32_t c : text) {
    const auto& edges = states[state].edges;
    const auto at = std::ranges::lower_bound(edges, c, {}, [](const Edge& edge) { return edge.on.last; });
    if (at == edges.end() || at->on.first > c) return false;
    state = at->to;
  }
  return states[state].accepting;
}

bool CharDfa::is_free(std::uint32_t state) const {
  const State& here = states[state];
  return here.accepting && here.edges.size() == 1 && here.edges[0].to == state && here.edges[0].on.first == 0 &&
         here.edges[0].on.last == kLastCodePoint;
}

CharDfa CharDfa::of_length(std::uint32_t least, std::uint32_t most) {
  CharDfa dfa;
  const std::uint32_t last = most == kUnbounded ? least : most;
  if (last >= kMostStates) throw too_large();
  for (std::uint32_t i = 0; i <= last; ++i) {
    State state;
    state.accepting = i >= least;
    if (i < last) {
      state.edges.push_back({{0, kLastCodePoint}, i + 1});
    } else if (most == kUnbounded) {
      state.edges.push_back({{0, kLastCodePoint}, i});
    }
    dfa.states.push_back(std::move(state));
  }
  return dfa;
}

CharDfa CharDfa::of_texts(const std::vector<std::u32string>& texts) {
  std::vector<std::map<char32_t, std::uint32_t>> children(1);
  std::vector<bool> accepting(1, false);
  for (const std::u32string& text : texts) {
    std::uint32_t state = 0;
    for (const char32_t c : text) {
      const auto [at, added] = children[state].try_emplace(c, static_cast<std::uint32_t>(children.size()));
      state = at->second;
      if (added) {
        if (children.size() >= 50 * kMostStates) throw too_large();
        children.emplace_back();
        accepting.push_back(false);
      }
    }
    accepting[state] = true;
  }
  CharDfa dfa;
  if (texts.empty()) return dfa;
  dfa.states.resize(children.size());
  for (std::size_t i = 0; i < children.size(); ++i) {
    dfa.states[i].accepting = accepting[i];
    for (const auto& [c, to] : children[i]) add_edge(dfa.states[i].edges, {c, c}, to);
  }
  return dfa;
}

CharDfa CharDfa::complement() const {
  CharDfa result = *this;
  if (result.states.empty()) result.states.emplace_back();
  const auto free_state = static_cast<std::uint32_t>(result.states.size());
  for (State& state : result.states) {
    state.accepting = !state.accepting;
    std::vector<Edge> edges;
    char32_t next = 0;
    for (const Edge& edge : state.edges) {
      if (edge.on.first > next) add_edge(edges, {next, edge.on.first - 1}, free_state);
      add_edge(edges, edge.on, edge.to);
      next = edge.on.last + 1;
    }
    if (next <= kLastCodePoint) add_edge(edges, {next, kLastCodePoint}, free_state);
    state.edges = std::move(edges);
  }
  result.states.push_back({{{{0, kLastCodePoint}, free_state}}, true});
  return pruned(result);
}

CharDfa CharDfa::intersection(const CharDfa& a, const CharDfa& b) {
  CharDfa result;
  if (a.empty() || b.empty()) return result;
  std::unordered_map<std::uint64_t, std::uint32_t> ids;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  const auto id_of = [&](std::uint32_t x, std::uint32_t y) {
    const auto [at, added] = ids.try_emplace(std::uint64_t{x} << 32 | y, static_cast<std::uint32_t>(pairs.size()));
    if (added) {
      if (pairs.size() >= kMostStates) throw too_large();
      pairs.emplace_back(x, y);
    }
    return at->second;
  };
  id_of(0, 0);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto [x, y] = pairs[i];
    const State& from_a = a.states[x];
    const State& from_b = b.states[y];
    State state;
    state.accepting = from_a.accepting && from_b.accepting;
    auto ea = from_a.edges.begin();
    auto eb = from_b.edges.begin();
    while (ea != from_a.edges.end() && eb != from_b.edges.end()) {
      const CodePointRange on{std::max(ea->on.first, eb->on.first), std::min(ea->on.last, eb->on.last)};
      if (on.first <= on.last) add_edge(state.edges, on, id_of(ea->to, eb->to));
      if (ea->on.last < eb->on.last) {
        ++ea;
      } else {
        ++eb;
      }
    }
    result.states.push_back(std::move(state));
  }
  return pruned(result);
}

// A state for each beginning of such a text: the longest that what was read ends with.
CharDfa texts_without(const std::vector<std::string_view>& never) {
  std::vector<std::u32string> begun{U""};
  std::vector<std::u32string> whole;
  std::vector<char32_t> signs;
  for (const std::string_view one : never) {
    whole.push_back(decode_utf8(one));
    for (std::size_t length = 1; length < whole.back().size(); ++length)
      begun.push_back(whole.back().substr(0, length));
    signs.insert(signs.end(), whole.back().begin(), whole.back().end());
  }
  const auto sort = [](auto& values) {
    std::ranges::sort(values);
    values.erase(std::unique(values.begin(), values.end()), values.end());
  };
  sort(begun);
  sort(signs);
  CharDfa dfa;
  for (const std::u32string& before : begun) {
    CharDfa::State state;
    state.accepting = true;
    char32_t next = 0;
    for (const char32_t sign : signs) {
      const std::u32string now = before + sign;
      const bool complete = std::ranges::any_of(whole, [&](const auto& one) { return now.ends_with(one); });
      std::u32string_view kept = now;
      while (!std::ranges::binary_search(begun, kept)) kept.remove_prefix(1);
      if (sign > next) add_edge(state.edges, {next, sign - 1}, 0);
      if (!complete) {
        const auto at = std::ranges::lower_bound(begun, kept);
        add_edge(state.edges, {sign, sign}, static_cast<std::uint32_t>(at - begun.begin()));
      }
      next = sign + 1;
    }
    if (next <= kLastCodePoint) add_edge(state.edges, {next, kLastCodePoint}, 0);
    dfa.states.push_back(std::move(state));
  }
  return dfa;
}

CharDfa pruned(const CharDfa& dfa) {
  const std::size_t count = dfa.states.size();
  std::vector<std::vector<std::uint32_t>> before(count);
  std::vector<std::uint32_t> work;
  std::vector<bool> useful(count, false);
  for (std::uint32_t i = 0; i < count; ++i) {
    for (const CharDfa::Edge& edge : dfa.states[i].edges) before[edge.to].push_back(i);
    if (dfa.states[i].accepting) {
      useful[i] = true;
      work.push_back(i);
    }
  }
  while (!work.empty()) {
    const std::uint32_t state = work.back();
    work.pop_back();
    for (const std::uint32_t from : before[state]) {
      if (useful[from]) continue;
      useful[from] = true;
      work.push_back(from);
    }
  }
  CharDfa result;
  if (count == 0 || !useful[0]) return result;
  std::vector<std::uint32_t> id(count, kNoState);
  std::vector<std::uint32_t> order{0};
  id[0] = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const CharDfa::Edge& edge : dfa.states[order[i]].edges) {
      if (!useful[edge.to] || id[edge.to] != kNoState) continue;
      id[edge.to] = static_cast<std::uint32_t>(order.size());
      order.push_back(edge.to);
    }
  }
  for (const std::uint32_t old : order) {
    CharDfa::State state;
    state.accepting = dfa.states[old].accepting;
    for (const CharDfa::Edge& edge : dfa.states[old].edges) {
      if (useful[edge.to]) add_edge(state.edges, edge.on, id[edge.to]);
    }
    result.states.push_back(std::move(state));
  }
  return result;
}

}  // namespace loadline::grammar
