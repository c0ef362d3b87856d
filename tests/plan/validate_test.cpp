// Plans that come from outside: edited, damaged, or made for something else.
#include "plan/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>

#include "engine/backends.h"
#include "plan/json.h"
#include "plan/machines.h"
#include "plan/models.h"
#include "plan/planner.h"
#include "support/refusal.h"

namespace loadline::plan {
namespace {

using nlohmann::json;
using quant::TensorType;
using testing::HasSubstr;

class PlanFile : public testing::Test {
 protected:
  PlanFile() {
    Options options;
    options.gpu_budget = 200 * kMiB;
    plan_ = make_plan(model_, program_, test::machine(8 * kGiB, {"RTX 3060"}), options, engine::backends());
    file_ = json::parse(to_json(model_, program_, plan_));
  }

  [[nodiscard]] Plan read(const json& file) const {
    Plan plan = plan_from_json(file.dump(), "plan.json");
    validate(plan, model_, program_, engine::backends(), "plan.json");
    return plan;
  }
  [[nodiscard]] std::string refused(const std::function<void(json&)>& edit) const {
    json edited = file_;
    edit(edited);
    return test::refusal([&] { return read(edited); }).sentence;
  }
  // The first region whose name holds this.
  static json& region(json& file, std::string_view name) {
    for (json& one : file["regions"]) {
      if (one["name"].get<std::string>().find(name) != std::string::npos) return one;
    }
    throw std::runtime_error("no region " + std::string(name));
  }

  gguf::Model model_ = test::make_model(test::llama_3_2_1b(), test::q4_k_m(16));
  model::Program program_ = model::build_program(model_);
  Plan plan_;
  json file_;
};

TEST_F(PlanFile, is_read_as_it_was_written) { EXPECT_TRUE(read(file_) == plan_); }

TEST_F(PlanFile, for_another_model_is_refused) {
  const gguf::Model other = test::make_model(test::llama_3_2_1b(), test::all_of(TensorType::Q8_0));
  const model::Program program = model::build_program(other);
  Plan plan = plan_from_json(file_.dump(), "plan.json");
  EXPECT_THAT(test::refusal([&] {
                validate(plan, other, program, engine::backends(), "plan.json");
                return 0;
              }).sentence,
              HasSubstr("plan.json was made for another model"));
}

TEST_F(PlanFile, with_regions_over_each_other_is_refused) {
  EXPECT_THAT(
      refused([](json& file) { region(file, "blk.3.ffn_up")["offset"] = region(file, "blk.3.ffn_gate")["offset"]; }),
      HasSubstr("over each other"));
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.v")["offset"] = region(file, "blk.3.k")["offset"]; }),
              HasSubstr("over each other"));
}

TEST_F(PlanFile, with_scratch_that_is_alive_together_in_one_place_is_refused) {
  // The hidden state lives through everything.
  EXPECT_THAT(refused([](json& file) {
                std::string hidden;
                for (const json& one : file["regions"]) {
                  if (one["purpose"] == "scratch" && hidden.empty()) hidden = one["name"];
                }
                const json first = region(file, hidden);
                for (json& one : file["regions"]) {
                  if (one["purpose"] == "scratch" && one["arena"] == first["arena"]) one["offset"] = 0;
                }
              }),
              HasSubstr("over each other"));
}

TEST_F(PlanFile, with_regions_out_of_bounds_is_refused) {
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["offset"] = std::uint64_t{1} << 40; }),
              HasSubstr("past the end of its arena"));
  EXPECT_THAT(refused([](json& file) { file["arenas"][0]["size"] = 4096; }), HasSubstr("past the end"));
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["arena"] = 99; }), HasSubstr("not there"));
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["offset"] = 3; }), HasSubstr("align"));
}

TEST_F(PlanFile, with_other_sizes_than_the_model_needs_is_refused) {
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["size"] = 4096; }),
              HasSubstr("as the model needs"));
  EXPECT_THAT(refused([](json& file) { file["weights"][5] = nullptr; }), HasSubstr("no region"));
  EXPECT_THAT(refused([](json& file) { file["weights"][5] = file["weights"][6]; }), HasSubstr("as the model needs"));
  EXPECT_THAT(refused([](json& file) { file["shape"]["context"] = 1000003; }), HasSubstr("context"));
  EXPECT_THAT(refused([](json& file) { file["kv"].erase(3); }), HasSubstr("cache"));
}

TEST_F(PlanFile, above_a_budget_is_refused) {
  EXPECT_THAT(refused([](json& file) { file["tiers"][1]["budget"] = 1000; }), HasSubstr("more than its budget"));
}

TEST_F(PlanFile, that_is_no_plan_is_refused_naming_what_is_wrong) {
  EXPECT_THAT(test::refusal([] { return plan_from_json("{]", "plan.json"); }).sentence, HasSubstr("plan.json"));
  EXPECT_THAT(test::refusal([] { return plan_from_json("[]", "plan.json"); }).sentence, HasSubstr("plan.json"));
  EXPECT_THAT(test::refusal([] { return plan_from_json("[1e999]", "plan.json"); }).sentence, HasSubstr("too large"));
  for (const char* member : {"shape", "tiers", "arenas", "regions", "groups", "weights", "kv", "scratch", "stream"}) {
    EXPECT_THAT(refused([&](json& file) { file.erase(member); }), HasSubstr(member));
    EXPECT_THAT(refused([&](json& file) { file[member] = "x"; }), HasSubstr(member));
  }
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["offset"] = -1; }), HasSubstr("offset"));
  EXPECT_THAT(refused([](json& file) { region(file, "blk.3.ffn_up")["offset"] = 1.5; }), HasSubstr("offset"));
}

// A plan with a stream: its order is checked against its ring.
TEST_F(PlanFile, that_would_read_over_what_is_computed_is_refused) {
  Options options;
  options.ram_budget = 600 * kMiB;
  const Plan streamed = make_plan(model_, program_, test::machine(8 * kGiB), options, engine::backends());
  ASSERT_GT(streamed.stream.size(), 3U);
  json file = json::parse(to_json(model_, program_, streamed));
  EXPECT_TRUE(read(file) == streamed);
  json edited = file;
  edited["stream"][2]["after"] = 1;
  EXPECT_THAT(test::refusal([&] { return read(edited); }).sentence, HasSubstr("before its place is free"));
  edited = file;
  std::swap(edited["stream"][1], edited["stream"][2]);
  EXPECT_THAT(test::refusal([&] { return read(edited); }).sentence, HasSubstr("stream"));
}

}  // namespace
}  // namespace loadline::plan
