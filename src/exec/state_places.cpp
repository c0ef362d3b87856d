#include "exec/state_places.h"

#include <algorithm>

#include "base/error.h"
#include "plan/runtime.h"

namespace loadline::exec {

static_assert(StatePlaces::bytes_per_place() <= plan::kStateEntry.value);

StatePlaces::StatePlaces(std::uint32_t places) : places_(places) {}

PlaceIndex StatePlaces::take() {
  Place* best = nullptr;
  for (Place& place : places_) {
    if (place.holders > 0) continue;
    if (best == nullptr || (best->cells > 0 && (place.cells == 0 || place.used < best->used))) best = &place;
  }
  if (best == nullptr) throw Error(ErrorCode::Internal, "no place is left for the state of a sequence");
  best->holders = 1;
  best->cells = 0;
  return static_cast<PlaceIndex>(best - places_.data());
}

void StatePlaces::share(PlaceIndex place) { ++places_.at(place).holders; }

void StatePlaces::release(PlaceIndex place) {
  Place& p = places_.at(place);
  if (p.holders == 0) throw Error(ErrorCode::Internal, "the place of a state is given back twice");
  --p.holders;
  p.used = ++now_;
}

void StatePlaces::name(PlaceIndex place, TextName before, std::span<const Token> tokens) {
  const Found same = find(before, tokens);
  if (same.cells == tokens.size() && same.place != place) places_[same.place].cells = 0;
  Place& p = places_.at(place);
  p.before = before;
  p.cells = static_cast<std::uint32_t>(tokens.size());
  std::ranges::copy(tokens, p.tokens.begin());
}

StatePlaces::Found StatePlaces::find(TextName before, std::span<const Token> tokens) const {
  Found best;
  for (const Place& place : places_) {
    if (place.cells <= best.cells || place.before != before || place.cells > tokens.size()) continue;
    if (!std::equal(place.tokens.begin(), place.tokens.begin() + place.cells, tokens.begin())) continue;
    best = {static_cast<PlaceIndex>(&place - places_.data()), place.cells};
  }
  return best;
}

}  // namespace loadline::exec
