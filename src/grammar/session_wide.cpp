// Masks of places where nearly any text fits: patterns that match anywhere, text up to a tag. Nearly all bytes lead on
// to one state, and stay there: tokens of such bytes alone need no look at their bytes. The others are few.
#include <algorithm>
#include <array>
#include <bit>

#include "grammar/session.h"
#include "grammar/string_states.h"

namespace loadline::grammar {
namespace {

// A state that fewer printable characters of ASCII lead on from is not looked at.
constexpr int kManyBytes = 48;

}  // namespace

// The state that most printable bytes lead to; kDead where there is none, kNoRoom where there was no room.
Configuration Session::common_target(Configuration from) {
  Configuration common = kDead;
  std::uint32_t votes = 0;
  for (unsigned byte = ' '; byte < 0x7F; ++byte) {
    const Configuration to = matcher_.next(from, static_cast<std::uint8_t>(byte));
    if (to == kNoRoom) return to;
    if (votes == 0) common = to;
    votes = to == common ? votes + 1 : votes - 1;
  }
  return common;
}

// Whether all of UTF-8's ways through the characters beyond ASCII lead from `from` to `common`, and to nothing else.
// -1: there was no room.
int Session::takes_all_characters(Configuration from, Configuration common) {
  struct Begun {
    std::uint8_t state;
    Configuration at;
  };
  std::array<Begun, 64> begun{};  // beginnings of characters, and where they have led
  std::size_t count = 0;
  const auto expect = [&](std::uint8_t state, Configuration at) {
    if (state == StringState::Boundary) return at == common;
    for (std::size_t i = 0; i < count; ++i) {
      if (begun[i].state == state && begun[i].at == at) return true;
    }
    if (count == begun.size()) return false;
    begun[count++] = {state, at};
    return true;
  };
  const auto follow = [&](std::uint8_t state, Configuration at) {
    for (unsigned byte = 0x80; byte < 0x100; ++byte) {
      const std::uint8_t next_state = kStringTable[state][byte];
      if (next_state == StringState::Refused) continue;
      const Configuration to = matcher_.next(at, static_cast<std::uint8_t>(byte));
      if (to == kNoRoom) return -1;
      if (to == kDead || !expect(next_state, to)) return 0;
    }
    return 1;
  };
  int result = follow(StringState::Boundary, from);
  for (std::size_t i = 0; i < count && result == 1; ++i) result = follow(begun[i].state, begun[i].at);
  return result;
}

// Sets `handled` where `from` is such a place, and adds its tokens. False where the matcher has no room.
bool Session::add_wide(Configuration from, std::span<std::uint64_t> out, bool& handled) {
  handled = false;
  const auto& bytes = matcher_.first_bytes(from);
  if (std::popcount(bytes[0]) + std::popcount(bytes[1]) < kManyBytes || bytes[2] != 0) return true;
  const Configuration common = common_target(from);
  if (common == kNoRoom) return false;
  if (common == kDead) return true;
  // Characters beyond ASCII all lead on, or none does.
  const bool ascii = (bytes[3] | matcher_.first_bytes(common)[2] | matcher_.first_bytes(common)[3]) == 0;
  for (const Configuration at : {common, from}) {
    const int all = ascii ? 1 : takes_all_characters(at, common);
    if (all < 0) return false;
    if (all == 0) return true;
    if (from == common) break;
  }
  // Bytes of ASCII that lead elsewhere. Behind those that lead nowhere nothing can come, so that a token with one is
  // allowed only if another leads out before.
  std::array<std::uint8_t, 128> first{};
  std::array<std::uint8_t, 128> out_of{};
  std::array<std::uint8_t, 128> nowhere{};
  std::size_t firsts = 0;
  std::size_t outs = 0;
  std::size_t nowheres = 0;
  std::size_t tokens = 0;
  for (unsigned b = 0; b < 0x80; ++b) {
    const auto byte = static_cast<std::uint8_t>(b);
    const Configuration to = matcher_.next(common, byte);
    const Configuration begins = matcher_.next(from, byte);
    if (to == kNoRoom || begins == kNoRoom) return false;
    if (to != common && to != kDead) {
      if (index_->is_frequent(byte)) return true;
      tokens += index_->with(byte).size();
      out_of[outs++] = byte;
      continue;
    }
    if (to == kDead) nowhere[nowheres++] = byte;
    if (begins != to) first[firsts++] = byte;
  }
  if (tokens > index_->size() / 3 || firsts > kManyBytes) return true;
  std::ranges::copy(ascii ? index_->ascii() : index_->well_formed(), wide_.begin());
  const auto clear = [&](Token token) {
    wide_[static_cast<std::size_t>(token) / 64] &= ~(std::uint64_t{1} << (token & 63));
  };
  const auto clear_with = [&](std::uint8_t byte) {
    const std::span<const std::uint64_t> all = index_->with_frequent(byte);
    for (std::size_t i = 0; i < all.size(); ++i) wide_[i] &= ~all[i];
    for (const Token token : index_->with(byte)) clear(token);
  };
  for (std::size_t i = 0; i < nowheres; ++i) clear_with(nowhere[i]);
  for (std::size_t i = 0; i < outs; ++i) clear_with(out_of[i]);
  nodes_walked_ += tokens;
  for (std::size_t i = 0; i < outs; ++i) {
    for (const Token token : index_->with(out_of[i])) {
      const Configuration to = step(from, index_->text(token));
      if (to == kNoRoom) return false;
      if (to != kDead) set_bit(wide_, token);
    }
  }
  for (std::size_t i = 0; i < firsts; ++i) {
    const std::uint32_t child = index_->root_child(first[i]);
    if (child == 0) continue;
    for (const Token token : index_->tokens_below(child)) clear(token);
    if (!walk({child, index_->nodes()[child].end, 0}, from, wide_)) return false;
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] |= wide_[i];
  handled = true;
  return true;
}

}  // namespace loadline::grammar
