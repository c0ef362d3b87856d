#include "cli/plan_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/output_file.h"
#include "base/text.h"
#include "cli/option.h"
#include "engine/backends.h"
#include "gguf/limits.h"
#include "hardware/json.h"
#include "hardware/measurements.h"
#include "hardware/probe.h"
#include "hardware/shared_memory.h"
#include "hardware/what_if.h"
#include "plan/budgets.h"
#include "plan/fingerprint.h"
#include "plan/json.h"
#include "plan/placement.h"
#include "plan/planner.h"
#include "plan/refusal.h"
#include "plan/validate.h"
#include "watch/tuned.h"

namespace loadline::cli {
namespace {

std::uint32_t parse_count(const std::string& text, const char* flag, std::uint32_t least) {
  std::uint32_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem == std::errc::result_out_of_range && end == text.data() + text.size()) {
    throw bad_input(fmt::format("{} is too large: {}", flag, text));
  }
  if (problem != std::errc() || end != text.data() + text.size() || value < least) {
    throw bad_input(fmt::format("{} is not a whole number{}: \"{}\"", flag,
                                least > 0 ? fmt::format(" of at least {}", least) : std::string(), text));
  }
  return value;
}

plan::GpuLayers parse_gpu_layers(const std::string& text) {
  using Kind = plan::GpuLayers::Kind;
  if (text == "auto") return {Kind::Auto, 0};
  if (text == "all") return {Kind::All, 0};
  std::uint32_t count = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (problem != std::errc() || end != text.data() + text.size()) {
    throw bad_input(fmt::format("-ngl is not a number of layers: \"{}\"", text), "It can be a number, auto or all.");
  }
  return {Kind::Count, count};
}

// PATTERN=TIER; the pattern may hold "=" itself.
plan::TensorOverride parse_placement(const std::string& text) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) {
    throw bad_input(fmt::format("-ot \"{}\" is not PATTERN=TIER", text), "For example ffn_down=CPU.");
  }
  plan::TensorOverride override{text.substr(0, equals), plan::kCpu};
  std::string tier = text.substr(equals + 1);
  std::ranges::transform(tier, tier.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (tier == "cpu" || tier == "ram") return override;
  // Users of other programs write the name of the library in front.
  for (const std::string_view prefix : {"gpu", "vulkan", "cuda"}) {
    if (!tier.starts_with(prefix)) continue;
    const std::string index = tier.substr(prefix.size());
    override.device = 1 + (index.empty() ? 0 : parse_count(index, "-ot's GPU", 0));
    return override;
  }
  throw bad_input(fmt::format("-ot \"{}\" names a tier that does not exist", text),
                  "Tiers are CPU, GPU0, GPU1 and so on.");
}

// Several with commas between them; a comma within a pattern, as in "{1,2}", is not one.
void parse_placements(const std::string& text, std::vector<plan::TensorOverride>& overrides) {
  std::size_t begin = 0;
  for (std::size_t comma = text.find(','); comma != std::string::npos; comma = text.find(',', comma + 1)) {
    const std::string part = text.substr(begin, comma - begin);
    const std::size_t equals = part.rfind('=');
    const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0; };
    if (equals == std::string::npos || !std::ranges::all_of(part.substr(equals + 1), is_word)) continue;
    overrides.push_back(parse_placement(part));
    begin = comma + 1;
  }
  overrides.push_back(parse_placement(text.substr(begin)));
}

quant::TensorType parse_kv_type(const std::string& text, const char* flag) {
  const quant::Format* format = quant::find_format(text);
  using quant::TensorType;
  if (format == nullptr ||
      (format->type != TensorType::F32 && format->type != TensorType::F16 && format->type != TensorType::Q8_0)) {
    throw bad_input(fmt::format("{} is not a type the KV cache can have: \"{}\"", flag, text),
                    "It can be f32, f16 or q8_0.");
  }
  return format->type;
}

}  // namespace

void parse_vram(const std::string& text, plan::Options& options) {
  if (text.find('=') == std::string::npos) {
    options.gpu_budget = parse_bytes(text, "--vram");
    return;
  }
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) {
      throw bad_input(fmt::format("--vram \"{}\" names a GPU in one part and none in another", text),
                      "Write 0=11.5GiB,1=6GiB, or one size for all.");
    }
    const std::uint32_t index = parse_count(part.substr(0, equals), "--vram's GPU", 0);
    options.gpu_budgets[index] = parse_bytes(part.substr(equals + 1), "--vram");
    begin = end + 1;
  }
}

void PlanOptions::add_to(Command& command) {
  const Traits shape{.group = "Context and batches"};
  command.option("-c,--ctx-size", &context_,
                 "Context in tokens, all sequences together (default 4096 or the model's own; max: the largest that "
                 "fits; 0: what the model was trained for)",
                 shape);
  command.option("-np,--parallel", &sequences_, "Sequences that share the context", shape);
  command.option("-b,--batch-size", &batch_,
                 "Most tokens of the prompt in one pass (default 512; more where the disk makes it worth while)",
                 shape);
  command.option("-ub,--ubatch-size", &micro_batch_, "The same; the smaller of the two counts", shape);
  command.option("-ctk,--cache-type-k", &k_type_, "Type of the keys in the cache: f32, f16 or q8_0", shape);
  command.option("-ctv,--cache-type-v", &v_type_, "Type of the values in the cache: f32, f16 or q8_0", shape);
  command.option("-t,--threads", &threads_, "Threads (default: one per core)", shape);

  const Traits where{.group = "Where the model goes"};
  command.option("--vram", &vram_,
                 "Most GPU memory to take, if that is free: 11.5GiB, or 0=11.5GiB,1=6GiB. Sizes: 11.5GiB, 11.5G and "
                 "11776M are binary, 12GB is decimal.",
                 where);
  command.option("--ram", &ram_, "Most RAM to take, if that is available (with --gpu: the RAM that machine has)",
                 where);
  command.option("--headroom", &headroom_, "Left free on each tier whose budget is not named", where);
  command.option("--disk", &disk_, "on, off or auto: read what does not fit in RAM from disk for every token", where);
  command.option("-ngl,--n-gpu-layers,--gpu-layers", &gpu_layers_,
                 "Layers on the GPU: a number (the last ones; the output counts as one more), all, or auto: by "
                 "predicted speed",
                 where);
  command.option(
      "-ot,--override-tensor", &overrides_,
      "PATTERN=TIER: what owns a tensor whose name matches goes to CPU, GPU0, ...; the first match wins; several with "
      "commas between them, or may be repeated",
      where);
  command.flag("-cmoe,--cpu-moe", cpu_experts_, "Keep the experts of all layers in RAM, on the CPU", where);
  command.option("-ncmoe,--n-cpu-moe", &cpu_expert_layers_, "Keep the experts of the first so many layers in RAM",
                 where);
  command.flag("-nkvo,--no-kv-offload", no_kv_offload_, "Keep the KV cache in RAM", where);
  command.flag("-nopo,--no-op-offload", no_prompt_offload_,
               "Keep long prompts off the GPU where the weights are in RAM", where);
  command.flag("--no-tuned", no_tuned_, "Leave out what `loadline tune` found for this machine and model", where);
  command.option("--plan", &plan_file_, "Use exactly the plan in this file (`loadline plan --out` writes one)", where);
  command.option("-dev,--device", &devices_,
                 "GPUs to use, by id or name (default: all but software ones): vulkan0,vulkan1, or none",
                 {.group = where.group, .separator = ','});

  const Traits machine{.group = "Another machine than this one"};
  command.option("--gpu", &cards_, "Plan for this graphics card, such as \"RTX 3060\"; may be repeated", machine);
  command.option("--hardware", &hardware_, "Plan for the machine in this file (`loadline devices --json` writes one)",
                 machine);
}

plan::Options PlanOptions::options() const {
  plan::Options options;
  if (!vram_.empty()) parse_vram(vram_, options);
  if (!ram_.empty() && !describes_another_machine()) options.ram_budget = parse_bytes(ram_, "--ram");
  if (!headroom_.empty()) options.headroom = parse_bytes(headroom_, "--headroom");
  if (disk_ != "on" && disk_ != "off" && disk_ != "auto") {
    throw bad_input(fmt::format("--disk can be on, off or auto, not \"{}\"", disk_));
  }
  if (disk_ != "auto") options.disk = disk_ == "on";
  options.gpu_layers = parse_gpu_layers(gpu_layers_);
  for (const std::string& text : overrides_) parse_placements(text, options.overrides);
  if (!cpu_expert_layers_.empty()) options.cpu_experts = parse_count(cpu_expert_layers_, "--n-cpu-moe", 0);
  if (cpu_experts_) options.cpu_experts = std::numeric_limits<std::uint32_t>::max();
  options.kv_offload = !no_kv_offload_;
  options.prompt_offload = !no_prompt_offload_;
  // As the CPU kernels take it: whoever names another set has no matrix unit.
  const char* set = std::getenv("LOADLINE_ISA");
  options.matrix_unit = set == nullptr || *set == '\0' || std::string_view(set) == "amx";
  if (context_ == "max") {
    options.largest_context = true;
  } else if (!context_.empty()) {
    const std::uint32_t context = parse_count(context_, "-c", 0);
    if (context == 0) {
      options.trained_context = true;
    } else {
      options.context = context;
    }
  }
  options.sequences = parse_count(sequences_, "-np", 1);
  options.batch_named = !batch_.empty() || !micro_batch_.empty();
  if (!batch_.empty()) options.batch = parse_count(batch_, "-b", 1);
  if (!micro_batch_.empty()) options.batch = std::min(options.batch, parse_count(micro_batch_, "-ub", 1));
  if (!threads_.empty()) options.threads = parse_count(threads_, "-t", 1);
  options.k_type = parse_kv_type(k_type_, "-ctk");
  options.v_type = parse_kv_type(v_type_, "-ctv");
  return options;
}

hardware::Profile PlanOptions::this_machine(const gguf::Model& model) const {
  hardware::Profile profile =
      hardware::probe(model.files.empty() ? std::filesystem::path() : model.files.front().path());
  if (cards_.empty()) profile.gpus = hardware::probe_gpus_beside(profile.ram, devices_);
  hardware::recall(profile, hardware::measurements_path());
  return profile;
}

hardware::Profile PlanOptions::profile(const gguf::Model& model) const {
  constexpr Bytes kMostJson{std::uint64_t{16} << 20};
  std::optional<Bytes> ram;
  if (describes_another_machine() && !ram_.empty()) ram = parse_bytes(ram_, "--ram");
  return hardware::what_if(hardware_.empty()
                               ? this_machine(model)
                               : hardware::profile_from_json(read_text_file(hardware_, kMostJson), hardware_),
                           cards_, ram);
}

std::optional<plan::Plan> PlanOptions::stored_plan(const gguf::Model& model, const model::Program& program) const {
  if (plan_file_.empty()) return std::nullopt;
  constexpr Bytes kMostJson{std::uint64_t{64} << 20};
  plan::Plan plan = plan::plan_from_json(read_text_file(plan_file_, kMostJson), plan_file_);
  plan::validate(plan, model, program, engine::backends(), plan_file_);
  return plan;
}

plan::Plan PlanOptions::make_plan(const gguf::Model& model, const model::Program& program, std::uint32_t outputs,
                                  hardware::Profile* this_one, Bytes of_requests) const {
  if (describes_another_machine()) {
    throw bad_input("--gpu describes another machine, on which nothing can run here", "`loadline plan` plans for it.");
  }
  const hardware::Profile machine = this_machine(model);
  std::optional<plan::Plan> plan = stored_plan(model, program);
  if (!plan) {
    const hardware::Profile planned_for = hardware_.empty() ? machine : profile(model);
    plan::Options wanted = tuned_options(model, program, planned_for);
    wanted.outputs = outputs;
    wanted.of_requests = of_requests;
    plan = plan::make_plan(model, program, planned_for, wanted, engine::backends());
  }
  plan::require_available(*plan, machine);
  if (this_one != nullptr) *this_one = machine;
  return std::move(*plan);
}

Bytes PlanOptions::most_header() const {
  constexpr std::uint64_t kShareOfBudget = 64;  // it is one of many things that lie there
  const Bytes named = ram_.empty() ? Bytes(0) : parse_bytes(ram_, "--ram");
  return std::max(gguf::kMostDecodedHeader, named / kShareOfBudget);
}

std::vector<std::filesystem::path> PlanOptions::inputs(const gguf::Model& model) const {
  std::vector<std::filesystem::path> inputs = paths_of(model.files);
  for (const std::string& file : {plan_file_, hardware_}) {
    if (!file.empty()) inputs.emplace_back(file);
  }
  return inputs;
}

plan::Options PlanOptions::tuned_options(const gguf::Model& model, const model::Program& program,
                                         const hardware::Profile& machine) const {
  plan::Options wanted = options();
  tuned_note_.clear();
  const bool named = !threads_.empty() || !batch_.empty() || !micro_batch_.empty() || gpu_layers_ != "auto" ||
                     !overrides_.empty() || describes_another_machine() || !hardware_.empty();
  if (no_tuned_ || named) return wanted;
  const auto tuned = watch::recall_tuned(watch::tuned_path(), machine, plan::fingerprint(model));
  if (!tuned) return wanted;
  plan::Options better = wanted;
  better.threads = tuned->setting.threads;
  better.batch = tuned->setting.batch;
  better.batch_named = true;
  std::string what = fmt::format("-t {} -b {}", better.threads, better.batch);
  if (tuned->setting.gpu_layers) {
    better.gpu_layers = {plan::GpuLayers::Kind::Count, *tuned->setting.gpu_layers};
    what += fmt::format(" -ngl {}", *tuned->setting.gpu_layers);
  }
  if (!plan::try_plan(model, program, machine, better, engine::backends()).fits) {
    tuned_note_ = fmt::format("what tuning found ({}) does not fit now, and is left out", what);
    return wanted;
  }
  tuned_note_ = fmt::format("as tuning found on {}: {} ({:.3g} tok/s then); --no-tuned plans without it",
                            printable(tuned->date), what, tuned->measured.generation);
  return better;
}

std::vector<std::string> PlanOptions::notes(const plan::Plan& plan, const ModelSource& source) const {
  std::vector<std::string> notes = source.remarks;
  if (plan_file_.empty()) {
    for (std::string& line : plan::lowered_budgets(options(), plan.tiers, {"--ram", "--vram"})) {
      notes.push_back(std::move(line));
    }
  }
  if (!tuned_note_.empty()) notes.push_back(tuned_note_);
  if (plan_file_.empty() && options().cpu_experts > 0 &&
      std::ranges::none_of(source.program.groups, plan::has_experts)) {
    notes.push_back(
        fmt::format("{} has no effect: the model has no experts", cpu_experts_ ? "--cpu-moe" : "--n-cpu-moe"));
  }
  const bool here = hardware_.empty() && !describes_another_machine();
  if (const std::uint32_t there = here ? hardware::probe_processors() : plan.shape.threads;
      plan.shape.threads > there) {
    notes.push_back(fmt::format(
        "{} threads are more than the {} processor{} that this program may use: they wait for each other, and "
        "everything becomes much slower; -t {} is faster",
        plan.shape.threads, there, there == 1 ? "" : "s", there));
  }
  const model::ModelConfig& config = source.program.config;
  const std::uint32_t each = plan.shape.context / std::max(1U, plan.shape.sequences);
  if (config.trained_context > 0 && each > config.trained_context &&
      config.rope.scaling == model::RopeConfig::Scaling::None) {
    notes.push_back(
        fmt::format("the context of {} tokens is longer than the {} that the model was trained for; what it "
                    "says beyond them may make no sense",
                    each, config.trained_context));
  }
  return notes;
}

}  // namespace loadline::cli
