#include "grammar/session.h"

#include <algorithm>

#include "base/error.h"
#include "grammar/string_states.h"

namespace loadline::grammar {
namespace {

// A mask that took a walk over so many nodes is kept.
constexpr std::uint64_t kLongWalk = 1500;

void clear_bit(std::span<std::uint64_t> set, Token token) {
  set[static_cast<std::size_t>(token) / 64] &= ~(std::uint64_t{1} << (token & 63));
}

void add_all(std::span<std::uint64_t> to, std::span<const std::uint64_t> from) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] |= from[i];
}

}  // namespace

Session::Session(const Grammar& grammar, const TokenIndex& index, const SessionLimits& limits)
    : index_(&index), limits_(limits), matcher_(grammar, limits.matcher) {
  limits_.history = std::max(limits_.history, 1U);
  history_.resize(limits_.history);
  history_ended_.resize(limits_.history);
  path_.resize(std::size_t{index.deepest()} + 2);
  path_bytes_.resize(path_.size());
  roots_.reserve(history_.size() + path_.size() + 1);
  mask_.resize(index.words());
  wide_.resize(index.words());
  kept_.resize(limits.kept_masks);
  kept_bits_.resize(std::size_t{limits.kept_masks} * index.words());
  if (matcher_.overflowed()) refuse();
  reset();
}

Bytes Session::memory_bytes(const Grammar& grammar, const TokenIndex& index, const SessionLimits& limits) {
  const std::uint64_t words = index.words();
  const std::uint64_t path = std::uint64_t{index.deepest()} + 2;
  return Bytes(sizeof(Session) - sizeof(Matcher)) + Matcher::memory_bytes(grammar, limits.matcher) +
         Bytes(limits.history * (sizeof(Configuration) + 1) + path * (sizeof(Configuration) + 1) +
               (limits.history + path + 1) * sizeof(Configuration*) + 2 * words * 8 +
               limits.kept_masks * (sizeof(Kept) + words * 8));
}

void Session::refuse() const {
  throw bad_input("the grammar can be read in too many ways at once",
                  "Write it so that fewer alternatives begin with the same text.");
}

void Session::reset() {
  now_ = matcher_.start();
  ended_ = false;
  history_next_ = history_used_ = 0;
}

// Gives the matcher room for the step that it had none for.
void Session::make_room() {
  if (matcher_.overflowed()) refuse();
  roots_.clear();
  roots_.push_back(&now_);
  for (std::size_t i = 0; i < history_used_; ++i) {
    roots_.push_back(&history_[(history_next_ + history_.size() - 1 - i) % history_.size()]);
  }
  matcher_.tidy(roots_);
}

Configuration Session::step(Configuration from, std::string_view text) {
  for (const char c : text) {
    from = matcher_.next(from, static_cast<std::uint8_t>(c));
    if (from == kDead || from == kNoRoom) return from;
  }
  return from;
}

Configuration Session::after_token(Configuration from, Token token) {
  if (token < 0 || static_cast<std::uint32_t>(token) >= index_->size()) return kDead;
  const std::string_view text = index_->text(token);
  const Configuration by_text = text.empty() ? kDead : step(from, text);
  if (by_text == kNoRoom || !matcher_.has_tokens(from)) return by_text;
  const Configuration by_token = matcher_.next_token(from, token);
  return by_token == kNoRoom ? kNoRoom : matcher_.either(by_text, by_token);
}

bool Session::allows(Token token) {
  if (ended_) return false;
  if (index_->ends(token) && matcher_.is_complete(now_)) return true;
  Configuration to = after_token(now_, token);
  if (to == kNoRoom) {
    make_room();
    to = after_token(now_, token);
    if (to == kNoRoom) refuse();
  }
  return to != kDead;
}

void Session::remember() {
  history_[history_next_] = now_;
  history_ended_[history_next_] = ended_ ? 1 : 0;
  history_next_ = (history_next_ + 1) % history_.size();
  history_used_ = std::min(history_used_ + 1, history_.size());
}

bool Session::accept(Token token) {
  if (ended_) return false;
  if (index_->ends(token) && matcher_.is_complete(now_)) {
    remember();
    ended_ = true;
    return true;
  }
  Configuration to = after_token(now_, token);
  if (to == kNoRoom) {
    make_room();
    to = after_token(now_, token);
    if (to == kNoRoom) refuse();
  }
  if (to == kDead) return false;
  remember();
  now_ = to;
  return true;
}

bool Session::accept_text(std::string_view text) {
  if (ended_) return text.empty();
  // In pieces, so that a long text needs no more room than a token.
  constexpr std::size_t kPiece = 64;
  const std::size_t used = history_used_;
  remember();  // so that tidying keeps the state to come back to
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, kPiece);
    Configuration to = step(now_, piece);
    if (to == kNoRoom) {
      make_room();
      to = step(now_, piece);
      if (to == kNoRoom) refuse();
    }
    if (to == kDead) {
      rollback(1);
      history_used_ = std::min(history_used_, used);
      return false;
    }
    now_ = to;
    text.remove_prefix(piece.size());
  }
  return true;
}

std::size_t Session::count_allowed(std::span<const Token> tokens) {
  const std::size_t most = std::min(tokens.size(), history_.size());
  std::size_t count = 0;
  while (count < most && accept(tokens[count])) ++count;
  rollback(count);
  return count;
}

void Session::rollback(std::size_t count) {
  if (count > history_used_) {
    throw Error(ErrorCode::Internal, "more tokens were taken back from a grammar than it remembers");
  }
  if (count == 0) return;
  history_next_ = (history_next_ + history_.size() - count) % history_.size();
  history_used_ -= count;
  now_ = history_[history_next_];
  ended_ = history_ended_[history_next_] != 0;
}

bool Session::must_end() const {
  if (ended_ || !matcher_.is_complete(now_)) return false;
  return matcher_.items(now_).empty();
}

void Session::forced_text(std::string& text, std::size_t most) {
  if (ended_) return;
  Configuration at = now_;
  for (std::size_t i = 0; i < most; ++i) {
    if (matcher_.is_complete(at) || matcher_.has_tokens(at)) return;
    int only = -1;
    for (unsigned word = 0; word < 4; ++word) {
      const std::uint64_t bits = matcher_.first_bytes(at)[word];
      if (bits == 0) continue;
      if (only >= 0 || (bits & (bits - 1)) != 0) return;
      only = static_cast<int>(word * 64) + std::countr_zero(bits);
    }
    if (only < 0) return;
    at = matcher_.next(at, static_cast<std::uint8_t>(only));
    if (at == kNoRoom) {
      make_room();  // what was found so far stays true
      return;
    }
    text.push_back(static_cast<char>(only));
  }
}

std::span<const std::uint64_t> Session::mask() {
  if (ended_) {
    std::ranges::fill(mask_, 0);
    return mask_;
  }
  if (kept_generation_ != matcher_.generation()) {
    kept_generation_ = matcher_.generation();
    for (Kept& kept : kept_) kept = {};
  }
  ++clock_;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].configuration != now_ || kept_[i].used == 0) continue;
    kept_[i].used = clock_;
    return std::span(kept_bits_).subspan(i * index_->words(), index_->words());
  }
  const std::uint64_t before = nodes_walked_;
  find_mask();
  if (nodes_walked_ - before >= kLongWalk && !kept_.empty() && kept_generation_ == matcher_.generation()) {
    const auto oldest = std::ranges::min_element(kept_, {}, &Kept::used);
    *oldest = {now_, clock_};
    std::ranges::copy(mask_, kept_bits_.begin() + (oldest - kept_.begin()) * static_cast<std::ptrdiff_t>(mask_.size()));
  }
  return mask_;
}

void Session::find_mask() {
  for (int attempt = 0;; ++attempt) {
    std::ranges::fill(mask_, 0);
    if (add_strings(mask_) && add_tokens(mask_)) break;
    if (attempt == 1) refuse();
    make_room();
  }
  if (matcher_.is_complete(now_)) {
    for (const Token token : index_->end_tokens()) set_bit(mask_, token);
  }
}

// Each returns false where the matcher has no room.

bool Session::add_strings(std::span<std::uint64_t> out) {
  bool strings = false;
  // By place: a step may move what is held, but not change it.
  const std::size_t count = matcher_.items(now_).size();
  for (std::size_t i = 0; i < count; ++i) {
    const Matcher::Item item = matcher_.items(now_)[i];
    if (item.state != StringState::Boundary) continue;
    strings = true;
    if (!add_string(item, out)) return false;
  }
  Configuration rest = now_;
  if (strings) {
    rest = matcher_.without_strings(now_);
    if (rest == kNoRoom) return false;
  }
  bool handled = false;
  if (!add_wide(rest, out, handled)) return false;
  if (handled) return true;
  // Only the tokens that begin with a byte that may follow.
  for (unsigned word = 0; word < 4; ++word) {
    for (std::uint64_t bits = matcher_.first_bytes(rest)[word]; bits != 0; bits &= bits - 1) {
      const auto byte = static_cast<std::uint8_t>(word * 64 + static_cast<unsigned>(std::countr_zero(bits)));
      const std::uint32_t child = index_->root_child(byte);
      if (child != 0 && !walk({child, index_->nodes()[child].end, 0}, rest, out)) return false;
    }
  }
  return true;
}

bool Session::walk(Walk range, Configuration from, std::span<std::uint64_t> out) {
  const std::span<const TokenIndex::Node> nodes = index_->nodes();
  path_[range.base] = from;
  std::uint32_t n = range.begin;
  while (n < range.end) {
    const TokenIndex::Node& node = nodes[n];
    ++nodes_walked_;
    const Configuration to = matcher_.next(path_[node.depth - 1U], node.byte);
    if (to == kDead) {
      n = node.end;
      continue;
    }
    if (to == kNoRoom) return false;
    path_[node.depth] = to;
    path_bytes_[node.depth] = node.byte;
    // What is below is known: the same tokens, whatever the grammar.
    if (range.base == 0 && matcher_.is_in_any_string(to) && is_between_characters(node.depth)) {
      if (!add_subtree(n, to, out)) return false;
      n = node.end;
      continue;
    }
    for (const Token token : index_->tokens_at(n)) set_bit(out, token);
    ++n;
  }
  return true;
}

// Whether the path from the root, read as the inside of a string, is between two characters.
bool Session::is_between_characters(std::uint32_t depth) const {
  std::uint8_t state = StringState::Boundary;
  for (std::uint32_t i = 1; i <= depth && state < StringState::Closed; ++i) state = kStringTable[state][path_bytes_[i]];
  return state == StringState::Boundary;
}

// `node` has been taken and led to `at`, which is in a string of any length: it and all that is below.
bool Session::add_subtree(std::uint32_t node, Configuration at, std::span<std::uint64_t> out) {
  const std::span<const std::uint64_t> inside = index_->inside(kUnbounded);
  const std::span<const Token> tokens = index_->tokens_below(node);
  nodes_walked_ += tokens.size() / 8;
  for (const Token token : tokens) {
    const auto word = static_cast<std::size_t>(token) / 64;
    out[word] |= inside[word] & (std::uint64_t{1} << (token & 63));
  }
  const std::span<const TokenIndex::StringExit> exits = index_->closing_below(node);
  if (exits.empty()) return true;
  const Configuration behind = matcher_.returned(matcher_.items(at)[0].node);
  if (behind == kNoRoom) return false;
  for (const TokenIndex::StringExit& exit : exits) {
    ++nodes_walked_;
    for (const Token token : index_->tokens_at(exit.node)) set_bit(out, token);
    const std::uint32_t end = index_->nodes()[exit.node].end;
    for (std::uint32_t child = exit.node + 1; child < end; child = index_->nodes()[child].end) {
      const Configuration next = matcher_.next(behind, index_->nodes()[child].byte);
      if (next == kNoRoom || (next != kDead && !add_exit(child, next, out))) return false;
    }
  }
  return true;
}

bool Session::add_string(const Matcher::Item& item, std::span<std::uint64_t> out) {
  const Grammar::Rule rule = matcher_.rule_of(item.node);
  const std::uint32_t room = rule.most == kUnbounded ? kUnbounded : rule.most - item.count;
  const std::uint32_t wanted = rule.least > item.count ? rule.least - item.count : 0;
  if (room > 0) {
    const bool long_too = room > TokenIndex::kLengthSteps && room != kUnbounded;
    add_all(out, index_->inside(long_too ? TokenIndex::kLengthSteps : room));
    if (long_too) {
      for (const TokenIndex::LongToken& token : index_->long_inside()) {
        if (token.characters <= room) set_bit(out, token.token);
      }
    }
  }
  const Configuration behind = matcher_.returned(item.node);
  if (behind == kNoRoom) return false;
  const auto fits = [&](std::uint32_t characters) { return characters >= wanted && characters <= room; };
  if (wanted == 0 && room == kUnbounded) {
    add_all(out, index_->closing());
  } else {
    for (const TokenIndex::StringExit& exit : index_->closing_nodes()) {
      if (!fits(exit.characters)) continue;
      for (const Token token : index_->tokens_at(exit.node)) set_bit(out, token);
    }
  }
  for (unsigned word = 0; word < 4; ++word) {
    for (std::uint64_t bits = matcher_.first_bytes(behind)[word]; bits != 0; bits &= bits - 1) {
      const auto byte = static_cast<std::uint8_t>(word * 64 + static_cast<unsigned>(std::countr_zero(bits)));
      const Configuration at = matcher_.next(behind, byte);
      if (at == kNoRoom) return false;
      for (const TokenIndex::StringExit& exit : index_->behind(byte)) {
        if (fits(exit.characters) && !add_exit(exit.node, at, out)) return false;
      }
    }
  }
  return true;
}

// `node` has been taken, and led to `at`.
bool Session::add_exit(std::uint32_t node, Configuration at, std::span<std::uint64_t> out) {
  ++nodes_walked_;
  for (const Token token : index_->tokens_at(node)) set_bit(out, token);
  const TokenIndex::Node& from = index_->nodes()[node];
  if (node + 1 == from.end) return true;
  return walk({node + 1, from.end, from.depth}, at, out);
}

bool Session::add_tokens(std::span<std::uint64_t> out) {
  if (!matcher_.has_tokens(now_)) return true;
  for (const Matcher::Item& item : matcher_.items(now_)) {
    if (item.state < kStringStates) continue;
    for (const Grammar::TokenEdge& edge : matcher_.grammar().tokens(item.state)) {
      const bool exists = edge.token >= 0 && static_cast<std::uint32_t>(edge.token) < index_->size();
      if (!edge.negated) {
        if (exists) set_bit(out, edge.token);
        continue;
      }
      const bool was = exists && (out[static_cast<std::size_t>(edge.token) / 64] >> (edge.token & 63) & 1) != 0;
      for (std::size_t i = 0; i + 1 < out.size(); ++i) out[i] = ~std::uint64_t{0};
      out.back() |= ~std::uint64_t{0} >> (out.size() * 64 - index_->size());
      if (exists && !was) clear_bit(out, edge.token);
    }
  }
  return true;
}

}  // namespace loadline::grammar
