// The options that decide a plan, the same for every command that makes one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/model_source.h"
#include "gguf/gguf.h"
#include "hardware/profile.h"
#include "model/program.h"
#include "plan/options.h"
#include "plan/plan.h"

namespace loadline::cli {

class Command;

// --vram: "11.5GiB" for every GPU, or "0=11.5GiB,1=6GiB". Throws Error(BadInput).
void parse_vram(const std::string& text, plan::Options& options);

// The flags as given; what they mean is worked out on demand. `add_to` binds this object, which must outlive the
// parsing.
class PlanOptions {
 public:
  void add_to(Command& command);

  // Each throws Error(BadInput) naming the flag that is wrong.
  [[nodiscard]] plan::Options options() const;
  // The same, with what tuning found for this machine and model where the user names nothing of it; `notes` then says
  // so.
  [[nodiscard]] plan::Options tuned_options(const gguf::Model& model, const model::Program& program,
                                            const hardware::Profile& machine) const;
  // This machine with what was measured of it, or the one --hardware, --gpu and --ram describe. The model says which
  // disk is meant.
  [[nodiscard]] hardware::Profile profile(const gguf::Model& model) const;
  // The plan of --plan FILE, checked against the model; nullopt where the flag is not given.
  [[nodiscard]] std::optional<plan::Plan> stored_plan(const gguf::Model& model, const model::Program& program) const;
  // What `run` executes: the plan of --plan FILE, else one made from the options; this machine has free what it takes.
  // `outputs` and `of_requests` as in plan::Options; a stored plan has its own. `machine`, where it is asked for: this
  // machine. Throws as plan::make_plan does.
  [[nodiscard]] plan::Plan make_plan(const gguf::Model& model, const model::Program& program, std::uint32_t outputs = 0,
                                     hardware::Profile* machine = nullptr, Bytes of_requests = {}) const;
  // What the headers of the model may take: more than usual where a large RAM budget is named.
  [[nodiscard]] Bytes most_header() const;
  // Every file that is read: the model's, a stored plan, the description of a machine.
  [[nodiscard]] std::vector<std::filesystem::path> inputs(const gguf::Model& model) const;
  // A plan was named, which says where everything lies.
  [[nodiscard]] bool is_stored() const { return !plan_file_.empty(); }
  // What the user is told with a plan: what was overridden, budgets that were lowered, more threads than there are
  // processors, a context longer than the model was trained for.
  [[nodiscard]] std::vector<std::string> notes(const plan::Plan& plan, const ModelSource& source) const;

 private:
  [[nodiscard]] hardware::Profile this_machine(const gguf::Model& model) const;
  [[nodiscard]] bool describes_another_machine() const { return !cards_.empty(); }

  std::string hardware_;
  std::vector<std::string> cards_;
  std::vector<std::string> devices_;
  std::string vram_, ram_, headroom_;
  std::string disk_ = "auto";
  std::string gpu_layers_ = "auto";
  std::vector<std::string> overrides_;
  bool cpu_experts_ = false;
  std::string cpu_expert_layers_;
  std::string context_, sequences_ = "1", batch_, micro_batch_, threads_;
  std::string k_type_ = "f16", v_type_ = "f16";
  bool no_kv_offload_ = false;
  bool no_prompt_offload_ = false;
  bool no_tuned_ = false;
  mutable std::string tuned_note_;  // what tuned_options found, in a sentence
  std::string plan_file_;
};

}  // namespace loadline::cli
