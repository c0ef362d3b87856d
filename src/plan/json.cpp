#include "plan/json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/json_text.h"

namespace loadline::plan {
namespace {

using nlohmann::json;
using Ordered = nlohmann::ordered_json;

constexpr std::uint64_t kVersion = 2;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 56;
constexpr std::uint64_t kMostIndex = 0xFFFFFFFFU;

template <class Value>
struct Name {
  Value value;
  const char* name;
};
constexpr std::array kTierKinds = {Name{TierKind::Ram, "ram"}, Name{TierKind::Gpu, "gpu"},
                                   Name{TierKind::Disk, "disk"}};
constexpr std::array kPurposes = {Name{Purpose::Weights, "weights"}, Name{Purpose::KvCache, "kv_cache"},
                                  Name{Purpose::Scratch, "scratch"}, Name{Purpose::Staging, "staging"},
                                  Name{Purpose::Runtime, "runtime"}};
constexpr std::uint64_t kMostLayout = 255;

template <class Value, std::size_t count>
const char* name_in(const std::array<Name<Value>, count>& names, Value value) {
  for (const auto& one : names) {
    if (one.value == value) return one.name;
  }
  return "unknown";
}

Ordered region_index(RegionIndex index) { return index == kNoRegion ? Ordered(nullptr) : Ordered(index); }

// Reads members and names the one that is wrong.
class Reader {
 public:
  Reader(const json& value, std::string path, std::string_view source)
      : value_(value), path_(std::move(path)), source_(source) {}

  [[nodiscard]] Reader member(const char* key) const {
    if (!value_.is_object()) fail("must be an object");
    const auto found = value_.find(key);
    const std::string path = path_.empty() ? key : path_ + "." + key;
    if (found == value_.end()) throw bad_input(fmt::format("{}: {} is missing", source_, path));
    return {*found, path, source_};
  }
  [[nodiscard]] std::vector<Reader> items() const {
    if (!value_.is_array()) fail("must be a list");
    std::vector<Reader> readers;
    for (std::size_t i = 0; i < value_.size(); ++i)
      readers.push_back({value_[i], fmt::format("{}[{}]", path_, i), source_});
    return readers;
  }
  [[nodiscard]] std::uint64_t number(std::uint64_t most) const {
    if (!value_.is_number_unsigned() || value_.get<std::uint64_t>() > most) {
      fail(fmt::format("must be a whole number up to {}", most));
    }
    return value_.get<std::uint64_t>();
  }
  [[nodiscard]] std::uint32_t index() const { return static_cast<std::uint32_t>(number(kMostIndex)); }
  [[nodiscard]] Bytes bytes() const { return Bytes(number(kMostBytes)); }
  [[nodiscard]] RegionIndex region() const { return value_.is_null() ? kNoRegion : index(); }
  [[nodiscard]] model::TensorIndex tensor() const {
    return value_.is_null() ? model::kNoTensor : static_cast<model::TensorIndex>(number(0x7FFFFFFF));
  }
  [[nodiscard]] double rate() const {
    const double number = value_.is_number() ? value_.get<double>() : -1.0;
    if (!(number >= 0) || !std::isfinite(number)) fail("must be a number that is not negative");
    return number;
  }
  [[nodiscard]] bool flag() const {
    if (!value_.is_boolean()) fail("must be true or false");
    return value_.get<bool>();
  }
  [[nodiscard]] std::string text() const {
    if (!value_.is_string()) fail("must be a text");
    return value_.get<std::string>();
  }
  template <class Value, std::size_t count>
  [[nodiscard]] Value one_of(const std::array<Name<Value>, count>& names) const {
    const std::string name = text();
    for (const auto& one : names) {
      if (name == one.name) return one.value;
    }
    fail(fmt::format("cannot be \"{}\"", name));
  }
  [[nodiscard]] quant::TensorType format() const {
    const quant::Format* found = quant::find_format(text());
    if (found == nullptr) fail("must be the name of a format");
    return found->type;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw bad_input(fmt::format("{}: {} {}", source_, path_.empty() ? "the plan" : path_, what));
  }

 private:
  const json& value_;
  std::string path_;
  std::string_view source_;
};

void write_parts(const Plan& plan, Ordered& document) {
  for (std::uint32_t i = 0; i < plan.tiers.size(); ++i) {
    const Tier& tier = plan.tiers[i];
    document["tiers"].push_back({{"kind", name_in(kTierKinds, tier.kind)},
                                 {"name", tier.name},
                                 {"capacity", tier.capacity.value},
                                 {"available", tier.available.value},
                                 {"headroom", tier.headroom.value},
                                 {"budget", tier.budget.value},
                                 {"device", tier.device},
                                 {"total", tier_total(plan, i).value}});
  }
  document["arenas"] = Ordered::array();
  for (const Arena& arena : plan.arenas) {
    document["arenas"].push_back({{"tier", arena.tier},
                                  {"purpose", name_in(kPurposes, arena.purpose)},
                                  {"size", arena.size.value},
                                  {"huge_pages", arena.huge_pages}});
  }
  document["regions"] = Ordered::array();
  for (const Region& region : plan.regions) {
    document["regions"].push_back(
        {{"name", region.name},
         {"purpose", name_in(kPurposes, region.purpose)},
         {"arena", region.arena},
         {"offset", region.offset.value},
         {"size", region.size.value},
         {"tensor", region.tensor == model::kNoTensor ? Ordered(nullptr) : Ordered(region.tensor)},
         {"layout", static_cast<unsigned>(region.layout)}});
  }
}

void write_uses(const model::Program& program, const Plan& plan, Ordered& document) {
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const GroupPlacement& group = plan.groups[g];
    document["groups"].push_back({{"name", program.groups[g].name()},
                                  {"device", group.device},
                                  {"streamed", group.streamed},
                                  {"kv_on_cpu", group.kv_on_cpu}});
  }
  document["prompt"] = {{"tokens", plan.prompt.tokens},
                        {"device", plan.prompt.device},
                        {"slice", plan.prompt.slice.value},
                        {"groups", plan.prompt.groups}};
  document["weights"] = Ordered::array();
  for (const RegionIndex region : plan.weights) document["weights"].push_back(region_index(region));
  document["embedding_copy"] = region_index(plan.embedding_copy);
  document["embedding_rows"] = region_index(plan.embedding_rows);
  document["kv"] = Ordered::array();
  for (const KvRegions& kv : plan.kv) {
    document["kv"].push_back(
        {{"k", region_index(kv.k)}, {"v", region_index(kv.v)}, {"pages", kv.pages}, {"device", kv.device}});
  }
  document["scratch"] = Ordered::array();
  for (const DeviceScratch& scratch : plan.scratch) {
    const auto list = [](const std::vector<RegionIndex>& regions) {
      Ordered indices = Ordered::array();
      for (const RegionIndex region : regions) indices.push_back(region_index(region));
      return indices;
    };
    document["scratch"].push_back(
        {{"values", list(scratch.values)}, {"own", list(scratch.own)}, {"staging", list(scratch.staging)}});
  }
  document["load_buffer"] = region_index(plan.load_buffer);
  document["stream_buffer"] = region_index(plan.stream_buffer);
  document["stream"] = Ordered::array();
  for (const StreamSlot& slot : plan.stream) {
    document["stream"].push_back(
        {{"group", slot.group}, {"tensors", slot.tensors}, {"after", slot.after}, {"bytes", slot.bytes.value}});
  }
}

void read_parts(const Reader& document, Plan& plan) {
  for (const Reader& item : document.member("tiers").items()) {
    plan.tiers.push_back({item.member("kind").one_of(kTierKinds), item.member("name").text(),
                          item.member("capacity").bytes(), item.member("available").bytes(),
                          item.member("headroom").bytes(), item.member("budget").bytes(),
                          item.member("device").text()});
  }
  for (const Reader& item : document.member("arenas").items()) {
    plan.arenas.push_back({item.member("tier").index(), item.member("purpose").one_of(kPurposes),
                           item.member("size").bytes(), item.member("huge_pages").flag()});
  }
  for (const Reader& item : document.member("regions").items()) {
    plan.regions.push_back({item.member("name").text(), item.member("purpose").one_of(kPurposes),
                            item.member("arena").index(), item.member("offset").bytes(), item.member("size").bytes(),
                            item.member("tensor").tensor(),
                            static_cast<Layout>(item.member("layout").number(kMostLayout))});
  }
}

void read_uses(const Reader& document, Plan& plan) {
  for (const Reader& item : document.member("groups").items()) {
    plan.groups.push_back(
        {item.member("device").index(), item.member("streamed").flag(), item.member("kv_on_cpu").flag()});
  }
  const Reader prompt = document.member("prompt");
  plan.prompt.tokens = prompt.member("tokens").index();
  plan.prompt.device = prompt.member("device").index();
  plan.prompt.slice = prompt.member("slice").bytes();
  for (const Reader& item : prompt.member("groups").items()) plan.prompt.groups.push_back(item.index());
  for (const Reader& item : document.member("weights").items()) plan.weights.push_back(item.region());
  plan.embedding_copy = document.member("embedding_copy").region();
  plan.embedding_rows = document.member("embedding_rows").region();
  for (const Reader& item : document.member("kv").items()) {
    plan.kv.push_back({item.member("k").region(), item.member("v").region(), item.member("pages").index(),
                       item.member("device").index()});
  }
  for (const Reader& item : document.member("scratch").items()) {
    DeviceScratch scratch;
    const auto read = [&](const char* key, std::vector<RegionIndex>& regions) {
      for (const Reader& value : item.member(key).items()) regions.push_back(value.region());
    };
    read("values", scratch.values);
    read("own", scratch.own);
    read("staging", scratch.staging);
    plan.scratch.push_back(std::move(scratch));
  }
  plan.load_buffer = document.member("load_buffer").region();
  plan.stream_buffer = document.member("stream_buffer").region();
  for (const Reader& item : document.member("stream").items()) {
    StreamSlot slot{item.member("group").index(), {}, item.member("after").index(), item.member("bytes").bytes()};
    for (const Reader& tensor : item.member("tensors").items()) slot.tensors.push_back(tensor.tensor());
    plan.stream.push_back(std::move(slot));
  }
}

}  // namespace

std::string to_json(const gguf::Model& model, const model::Program& program, const Plan& plan) {
  Ordered document;
  document["loadline_plan"] = kVersion;
  document["model"] = {{"name", plan.model_name},
                       {"fingerprint", plan.model_fingerprint},
                       {"architecture", program.config.architecture},
                       {"bytes", model.tensor_bytes().value}};
  const Shape& shape = plan.shape;
  document["shape"] = {{"context", shape.context},
                       {"sequences", shape.sequences},
                       {"batch", shape.batch},
                       {"outputs", shape.outputs},
                       {"threads", shape.threads},
                       {"k_type", quant::name_of(shape.k_type)},
                       {"v_type", quant::name_of(shape.v_type)},
                       {"matrix_unit", shape.matrix_unit}};
  const Prediction& prediction = plan.prediction;
  document["prediction"] = {{"prompt_rate", prediction.prompt_rate},
                            {"generation_rate", prediction.generation_rate},
                            {"load_seconds", prediction.load_seconds},
                            {"generation_bound", prediction.generation_bound},
                            {"prompt_bound", prediction.prompt_bound}};
  write_parts(plan, document);
  write_uses(program, plan, document);
  return document.dump(1, ' ', false, Ordered::error_handler_t::replace) + "\n";
}

Plan plan_from_json(std::string_view text, std::string_view source) {
  const json parsed = parse_json<json>(text, source);
  const Reader document(parsed, "", source);
  if (document.member("loadline_plan").number(kMostIndex) != kVersion) {
    throw bad_input(fmt::format("{} is a plan of another version of loadline", source),
                    "Make it again with `loadline plan --out`.");
  }
  Plan plan;
  const Reader model = document.member("model");
  plan.model_name = model.member("name").text();
  plan.model_fingerprint = model.member("fingerprint").text();
  const Reader shape = document.member("shape");
  plan.shape = {shape.member("context").index(), shape.member("sequences").index(), shape.member("batch").index(),
                shape.member("outputs").index(), shape.member("threads").index(),   shape.member("k_type").format(),
                shape.member("v_type").format(), shape.member("matrix_unit").flag()};
  const Reader prediction = document.member("prediction");
  plan.prediction = {prediction.member("prompt_rate").rate(), prediction.member("generation_rate").rate(),
                     prediction.member("load_seconds").rate(), prediction.member("generation_bound").text(),
                     prediction.member("prompt_bound").text()};
  read_parts(document, plan);
  read_uses(document, plan);
  return plan;
}

}  // namespace loadline::plan
