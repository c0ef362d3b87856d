// Headers that are wrong in what they mean: small models with hostile edits of their metadata and tensors, as a reader
// of the format lets them through. Describing, planning and tokenising must each end in an answer or in an Error that
// is the file's fault.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/backends.h"
#include "model/program.h"
#include "model/small_model.h"
#include "plan/machines.h"
#include "plan/planner.h"
#include "tokenizer/synthetic.h"
#include "tokenizer/utf8.h"

namespace {

using namespace loadline;
using gguf::Array;
using gguf::Value;

// Hands out the fuzzer's bytes one by one, and zeros after the last.
class Choices {
 public:
  Choices(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  std::uint8_t next() { return left_ == 0 ? 0 : (--left_, *data_++); }
  std::size_t below(std::size_t count) { return (next() << 8 | next()) % count; }
  [[nodiscard]] bool ended() const { return left_ == 0; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// A model less its files, which cannot be copied.
struct Base {
  gguf::Metadata metadata;
  std::vector<gguf::TensorInfo> tensors;
};

Base make_base(const std::string& architecture, const gguf::Metadata& vocabulary) {
  gguf::Model model = test::small_model(architecture);
  for (const auto& [key, value] : vocabulary.entries()) model.metadata.set(key, value);
  // Keys that the small model does without.
  const auto add = [&](const std::string& key, Value value) {
    model.metadata.set(architecture + key, std::move(value));
  };
  add(".vocab_size", {std::uint32_t{32}});
  add(".attention.key_length", {std::uint32_t{16}});
  add(".attention.value_length", {std::uint32_t{16}});
  add(".rope.dimension_count", {std::uint32_t{16}});
  add(".rope.freq_base", {1e4F});
  add(".rope.scaling.type", {std::string("yarn")});
  add(".rope.scaling.factor", {2.0F});
  add(".rope.scaling.original_context_length", {std::uint32_t{64}});
  return {std::move(model.metadata), std::move(model.tensors)};
}

const std::vector<Base>& bases() {
  static const std::vector<Base> kAll = {
      make_base("llama", test::varied_sentence_piece_metadata()),
      make_base("qwen2", test::varied_byte_pair_metadata("qwen2")),
      make_base("qwen3", test::varied_byte_pair_metadata("llama-bpe")),
  };
  return kAll;
}

Value some_value(Choices& choices, const gguf::Metadata& metadata) {
  constexpr std::array<std::uint64_t, 16> kNumbers = {0,
                                                      1,
                                                      2,
                                                      3,
                                                      7,
                                                      16,
                                                      63,
                                                      64,
                                                      255,
                                                      65536,
                                                      1U << 20,
                                                      0x7FFFFFFF,
                                                      0x80000000,
                                                      0xFFFFFFFF,
                                                      std::uint64_t{1} << 40,
                                                      std::numeric_limits<std::uint64_t>::max()};
  constexpr std::array<float, 8> kFloats = {0.0F,
                                            -1.0F,
                                            1e-38F,
                                            1e38F,
                                            0.5F,
                                            1e-5F,
                                            std::numeric_limits<float>::infinity(),
                                            std::numeric_limits<float>::quiet_NaN()};
  constexpr std::array<const char*, 8> kTexts = {"",     "llama",  "qwen3", "gpt2",
                                                 "none", "linear", "yarn",  "\xFF\xE2\x96"};
  switch (choices.next() % 7) {
    case 0: return {static_cast<std::uint32_t>(choices.next())};
    case 1: return {kNumbers[choices.next() % kNumbers.size()]};
    case 2: return {-static_cast<std::int32_t>(choices.next())};
    case 3: return {kFloats[choices.next() % kFloats.size()]};
    case 4: return {std::string(kTexts[choices.next() % kTexts.size()])};
    case 5: return {choices.next() % 2 == 0};
    default: return metadata.entries()[choices.below(metadata.entries().size())].second;
  }
}

void damage_strings(std::vector<std::string>& items, Choices& choices) {
  if (items.empty()) return;
  std::string& item = items[choices.below(items.size())];
  switch (choices.next() % 4) {
    case 0: item = items[choices.below(items.size())]; break;
    case 1: item.clear(); break;
    case 2: item.push_back(static_cast<char>(choices.next())); break;
    default: items.resize(choices.below(items.size()));
  }
}

// One edit of the value at `key`.
Value edited(Value value, Choices& choices, const gguf::Metadata& metadata) {
  auto* array = std::get_if<Array>(&value.data);
  if (array == nullptr || choices.next() % 4 == 0) return some_value(choices, metadata);
  if (auto* strings = std::get_if<gguf::Strings>(&array->items)) {
    std::vector<std::string> texts = strings->to_vector();
    damage_strings(texts, choices);
    *strings = texts;
  } else if (auto* numbers = std::get_if<std::vector<std::int32_t>>(&array->items); numbers && !numbers->empty()) {
    (*numbers)[choices.below(numbers->size())] = static_cast<std::int8_t>(choices.next());
  } else if (auto* floats = std::get_if<std::vector<float>>(&array->items); floats && !floats->empty()) {
    const Value other = some_value(choices, metadata);
    if (const auto* number = std::get_if<float>(&other.data)) (*floats)[choices.below(floats->size())] = *number;
  }
  return value;
}

void edit_tensor(gguf::Model& model, Choices& choices) {
  if (model.tensors.empty()) return;
  gguf::TensorInfo& tensor = model.tensors[choices.below(model.tensors.size())];
  const gguf::TensorInfo& other = model.tensors[choices.below(model.tensors.size())];
  switch (choices.next() % 5) {
    case 0: tensor.name = "unused." + tensor.name; break;
    case 1:
      tensor.shape = other.shape;
      tensor.dimensions = other.dimensions;
      break;
    case 2: tensor.shape[choices.next() % tensor.dimensions] = 1U + choices.next(); break;
    case 3:
      model.tensors.erase(model.tensors.begin() + static_cast<std::ptrdiff_t>(choices.below(model.tensors.size())));
      return;
    default: {
      const auto formats = quant::all_formats();
      const quant::Format& format = formats[choices.next() % formats.size()];
      if (tensor.columns() % format.block_elements == 0) tensor.type = format.type;
    }
  }
  // The reader sees to it that rows are whole blocks and sizes are right.
  const std::uint64_t block = quant::format_of(tensor.type).block_elements;
  if (tensor.columns() % block != 0) tensor.type = quant::TensorType::F32;
  tensor.size = quant::size_of(tensor.type, tensor.elements());
}

gguf::Model damaged(Choices& choices) {
  const Base& base = bases()[choices.next() % bases().size()];
  gguf::Model model;
  model.metadata = base.metadata;
  model.tensors = base.tensors;
  while (!choices.ended()) {
    if (choices.next() % 3 == 0) {
      edit_tensor(model, choices);
      continue;
    }
    const std::size_t at = choices.below(model.metadata.entries().size());
    gguf::Metadata changed;
    for (std::size_t i = 0; i < model.metadata.entries().size(); ++i) {
      const auto& [key, value] = model.metadata.entries()[i];
      if (i != at) {
        changed.set(key, value);
      } else if (choices.next() % 8 != 0) {  // else it is missing
        changed.set(key, edited(value, choices, model.metadata));
      }
    }
    if (changed.entries().empty()) break;
    model.metadata = std::move(changed);
  }
  model.index_tensors();
  return model;
}

template <typename F>
void allow_refusal(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::BadInput && error.code() != ErrorCode::DoesNotFit) std::abort();
  }
}

void tokenize(const gguf::Model& model) {
  const auto tokenizer = tokenizer::Tokenizer::from_metadata(model.metadata);
  const std::string text = "The band 123 \xC3\xA9\xE2\x96\x81  aaaa<|user|>\xFF\n";
  const auto tokens = tokenizer->encode(text, {.add_special = true, .parse_special = true});
  tokenizer::StreamDecoder decoder(*tokenizer, true);
  std::string out;
  for (const tokenizer::Token token : tokens) {
    if (token < 0 || token >= tokenizer->vocabulary_size()) std::abort();
    const std::string part = decoder.push(token);
    if (tokenizer::valid_utf8_prefix(part) != part.size()) std::abort();
  }
  (void)decoder.finish();
  for (tokenizer::Token token = 0; token < tokenizer->vocabulary_size(); ++token) {
    (void)tokenizer->piece(token, true);
    (void)tokenizer->is_end_of_generation(token);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Choices choices(data, std::min<std::size_t>(size, 64));
  const gguf::Model model = damaged(choices);
  allow_refusal([&] { tokenize(model); });
  allow_refusal([&] {
    const model::Program program = model::build_program(model);
    static const hardware::Profile kMachine = test::machine(Bytes(std::uint64_t{8} << 30));
    plan::Options options;
    options.batch = 16;
    const plan::Plan plan = plan::make_plan(model, program, kMachine, options, engine::backends());
    if (plan::tier_total(plan, 0) > plan.tiers[0].budget) std::abort();
  });
  return 0;
}
