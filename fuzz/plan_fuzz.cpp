// A plan from outside: one that is damaged here and there must be refused, or be one that the executor may believe.
// Half of the inputs are the text itself; the others are edits of good plans, since bytes alone would hardly ever get
// past the parser.
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/backends.h"
#include "model/program.h"
#include "plan/json.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "plan/validate.h"

namespace {

using namespace loadline;
using nlohmann::json;

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr Bytes kRam{std::uint64_t{8} << 30};

struct Case {
  gguf::Model model;
  model::Program program;
  json plan;
  std::vector<json::json_pointer> places;  // every value in the plan
};

void list_places(const json& value, const json::json_pointer& at, std::vector<json::json_pointer>& places) {
  places.push_back(at);
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) list_places(member, at / key, places);
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); ++i) list_places(value[i], at / i, places);
  }
}

Case make_case(const test::ModelShape& shape, const std::vector<std::string>& cards, const plan::Options& options) {
  Case made;
  made.model = test::make_model(shape, test::q4_k_m(shape.layers));
  made.program = model::build_program(made.model);
  const plan::Plan plan =
      plan::make_plan(made.model, made.program, test::machine(kRam, cards), options, engine::backends());
  made.plan = json::parse(plan::to_json(made.model, made.program, plan));
  list_places(made.plan, json::json_pointer(), made.places);
  return made;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> kAll = [] {
    std::vector<Case> all;
    test::ModelShape shape = test::tiny();
    plan::Options options;
    options.context = 64;
    options.batch = 16;
    all.push_back(make_case(shape, {}, options));
    options.gpu_layers = {plan::GpuLayers::Kind::Count, 1};
    all.push_back(make_case(shape, {"RTX 3060"}, options));
    options.gpu_layers = {};
    // One that streams from disk: layers of some MiB, and ever less RAM, until it must.
    shape.layers = 6;
    shape.feed_forward = 8192;
    for (std::uint64_t mebibytes = 64; all.back().plan["stream"].empty(); --mebibytes) {
      options.ram_budget = Bytes(mebibytes << 20);
      Case made = make_case(shape, {}, options);
      if (!made.plan["stream"].empty()) all.push_back(std::move(made));
    }
    return all;
  }();
  return kAll;
}

// Each edit is four bytes: where (two), what, and with which number.
json edited(const Case& from, const std::uint8_t* data, std::size_t size) {
  json plan = from.plan;
  for (std::size_t i = 0; i + 4 <= size; i += 4) {
    const auto& place = from.places[(data[i] << 8 | data[i + 1]) % from.places.size()];
    if (place.empty() || !plan.contains(place)) continue;  // an earlier edit took it away
    json& value = plan[place];
    const std::uint8_t number = data[i + 3];
    switch (data[i + 2] % 9) {
      case 0: value = number; break;
      case 1: value = std::uint64_t{1} << (number % 64); break;
      case 2: value = nullptr; break;
      case 3:
        if (value.is_number_unsigned()) value = value.get<std::uint64_t>() + number;
        break;
      case 4:
        if (value.is_number_unsigned()) value = value.get<std::uint64_t>() - number;
        break;
      case 5: value = from.plan[from.places[number % from.places.size()]]; break;
      case 6:
        if (value.is_array() && !value.empty()) value.erase(number % value.size());
        break;
      case 7:
        if (value.is_array() && !value.empty()) value.push_back(value[number % value.size()]);
        break;
      default:
        if (value.is_boolean()) value = !value.get<bool>();
    }
  }
  return plan;
}

// What the executor takes for granted.
void require_sound(const Case& from, const plan::Plan& plan) {
  for (const plan::Region& region : plan.regions) {
    require(region.arena < plan.arenas.size());
    const plan::Arena& arena = plan.arenas[region.arena];
    require(region.offset <= arena.size && region.size <= arena.size - region.offset);
  }
  for (const plan::Arena& arena : plan.arenas) require(arena.tier < plan.tiers.size());
  require(plan.weights.size() == from.model.tensors.size());
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    if (plan.weights[i] == plan::kNoRegion) continue;
    require(plan.weights[i] < plan.regions.size());
    require(plan.regions[plan.weights[i]].size >= from.model.tensors[i].size);
  }
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    if (plan.tiers[tier].kind != plan::TierKind::Disk) {
      require(plan::tier_total(plan, tier) <= plan.tiers[tier].budget);
    }
  }
}

void try_plan(const Case& from, std::string_view text) {
  try {
    plan::Plan plan = plan::plan_from_json(text, "fuzz");
    plan::validate(plan, from.model, from.program, engine::backends(), "fuzz");
    require_sound(from, plan);
  } catch (const Error& error) {
    require(error.code() == ErrorCode::BadInput);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Case& from = cases()[data[0] / 2 % cases().size()];
  if (data[0] % 2 == 0) {
    try_plan(from, {reinterpret_cast<const char*>(data) + 1, size - 1});
  } else {
    try_plan(from, edited(from, data + 1, size - 1).dump(-1, ' ', false, json::error_handler_t::replace));
  }
  return 0;
}
