#include "gguf/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <type_traits>

#include "base/text.h"
#include "gguf/file_type.h"

namespace loadline::gguf {
namespace {

constexpr std::size_t kTextLimit = 100;  // bytes of a string, and of a name
constexpr std::size_t kItemLimit = 6;    // elements of an array; of one within another, half as many
constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1);

// The value of `key` as text where it is a string.
std::string text_or_empty(const Metadata& metadata, std::string_view key) {
  const Value* value = metadata.find(key);
  const auto* text = value == nullptr ? nullptr : std::get_if<std::string>(&value->data);
  return text == nullptr ? std::string() : *text;
}

std::string format_name(const Model& model) {
  if (model.tensors.empty()) return {};
  const Value* stored = model.metadata.find("general.file_type");
  if (const auto* number = stored == nullptr ? nullptr : std::get_if<std::uint32_t>(&stored->data)) {
    const std::string_view name = file_type_name(*number);
    if (!name.empty()) return std::string(name);
  }
  const FormatSums sums = sum_formats(model);
  const auto largest = std::ranges::max_element(sums, {}, [](const auto& entry) { return entry.second.bytes; });
  return std::string(quant::name_of(largest->first));
}

template <typename T>
std::string item_text(const T& item, std::size_t max_items, std::size_t max_bytes) {
  if constexpr (std::is_convertible_v<T, std::string_view>) {
    return fmt::format("\"{}\"", printable(item, max_bytes));
  } else if constexpr (std::is_same_v<T, Array>) {
    const std::size_t below = max_items == kNoLimit ? kNoLimit : max_items / 2;
    return std::visit(
        [&](const auto& elements) {
          using Element = typename std::decay_t<decltype(elements)>::value_type;
          std::string text = fmt::format("{} x {}: [", grouped(elements.size()), name_of(item.element_type));
          const std::size_t shown = std::min(elements.size(), max_items);
          for (std::size_t i = 0; i < shown; ++i) {
            text += (i == 0 ? "" : ", ") + item_text<Element>(elements[i], below, max_bytes);
          }
          if (shown < elements.size()) text += shown == 0 ? "…" : ", …";
          return text + "]";
        },
        item.items);
  } else {
    return fmt::format("{}", item);
  }
}

// What makes two layers alike.
std::string signature(const Model& model, std::vector<std::uint32_t> tensors, std::string_view prefix) {
  const auto rest = [&](std::uint32_t index) {
    return std::string_view(model.tensors[index].name).substr(prefix.size());
  };
  std::ranges::sort(tensors, {}, rest);
  std::string text;
  for (const std::uint32_t index : tensors) {
    const TensorInfo& tensor = model.tensors[index];
    text += fmt::format("{}:{}", rest(index).size(), rest(index));
    text += fmt::format(" {}", static_cast<std::uint32_t>(tensor.type));
    for (const std::uint64_t dimension : tensor.shape) text += fmt::format(" {}", dimension);
    text += '\n';
  }
  return text;
}

void add(TensorGroup& group, const TensorInfo& tensor) {
  FormatSum& sum = group.formats[tensor.type];
  ++group.tensors;
  ++sum.tensors;
  sum.elements += tensor.elements();
  sum.bytes += tensor.size;
}

}  // namespace

Summary summarise(const Model& model) {
  Summary summary;
  summary.name = text_or_empty(model.metadata, "general.name");
  if (summary.name.empty() && !model.files.empty()) summary.name = model.files.front().path().filename().string();
  summary.architecture = text_or_empty(model.metadata, "general.architecture");
  summary.format = format_name(model);
  for (const TensorInfo& tensor : model.tensors) summary.parameters += tensor.elements();
  for (const File& file : model.files) summary.file_bytes += file.size();
  summary.files = model.files.size();
  return summary;
}

std::string to_line(const Summary& summary) {
  std::string line = printable(summary.name, kTextLimit);
  line += " · " + (summary.architecture.empty() ? "no architecture" : printable(summary.architecture, kTextLimit));
  if (!summary.format.empty()) line += " · " + summary.format;
  line += summary.parameters == 0 ? " · no tensors" : fmt::format(" · {} parameters", count_text(summary.parameters));
  return line + fmt::format(" · {} in {}", to_string(summary.file_bytes),
                            summary.files == 1 ? "one file" : fmt::format("{} files", summary.files));
}

std::string count_text(std::uint64_t count) {
  if (count < 1000) return fmt::format("{}", count);
  constexpr std::array kUnits = {"k", "M", "B", "T", "P", "E"};
  double amount = static_cast<double>(count) / 1000.0;
  std::size_t unit = 0;
  while (amount >= 999.5 && unit + 1 < kUnits.size()) {
    amount /= 1000.0;
    ++unit;
  }
  const int decimals = amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", amount, decimals, kUnits[unit]);
}

std::string value_text(const Value& value, bool full) {
  const std::size_t items = full ? kNoLimit : kItemLimit;
  const std::size_t bytes = full ? kNoLimit : kTextLimit;
  return std::visit([&]<typename T>(const T& stored) { return item_text<T>(stored, items, bytes); }, value.data);
}

FormatSums sum_formats(const Model& model) {
  TensorGroup all;
  for (const TensorInfo& tensor : model.tensors) add(all, tensor);
  return all.formats;
}

std::optional<std::uint64_t> layer_of(std::string_view tensor_name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!tensor_name.starts_with(kPrefix)) return std::nullopt;
  tensor_name.remove_prefix(kPrefix.size());
  std::uint64_t layer = 0;
  const char* end = tensor_name.data() + tensor_name.size();
  const auto [stopped, problem] = std::from_chars(tensor_name.data(), end, layer);
  if (problem != std::errc() || stopped == end || *stopped != '.') return std::nullopt;
  return layer;
}

std::vector<TensorGroup> group_by_layer(const Model& model) {
  std::map<std::uint64_t, std::vector<std::uint32_t>> layers;
  for (std::uint32_t i = 0; i < model.tensors.size(); ++i) {
    if (const auto layer = layer_of(model.tensors[i].name)) layers[*layer].push_back(i);
  }
  std::map<std::string, std::size_t> groups_by_signature;
  std::vector<TensorGroup> layer_groups;
  for (const auto& [layer, tensors] : layers) {
    const std::string key = signature(model, tensors, fmt::format("blk.{}.", layer));
    const std::size_t group = groups_by_signature.try_emplace(key, layer_groups.size()).first->second;
    if (group == layer_groups.size()) layer_groups.emplace_back();
    layer_groups[group].layers.push_back(layer);
    for (const std::uint32_t index : tensors) add(layer_groups[group], model.tensors[index]);
  }

  // The layers stand where the first of them does; tensors outside keep their order.
  std::vector<TensorGroup> groups;
  bool layers_placed = false;
  for (const TensorInfo& tensor : model.tensors) {
    if (layer_of(tensor.name)) {
      if (!layers_placed) std::ranges::move(layer_groups, std::back_inserter(groups));
      layers_placed = true;
      continue;
    }
    TensorGroup& group = groups.emplace_back();
    group.name = tensor.name;
    add(group, tensor);
  }
  return groups;
}

std::string ranges_text(const std::vector<std::uint64_t>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (text.empty() ? "" : ", ") + fmt::format("{}", numbers[i]);
    if (last > i) text += fmt::format("{}{}", last == i + 1 ? ", " : "-", numbers[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace loadline::gguf
