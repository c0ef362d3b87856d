// `loadline inspect`: what a model file holds, without reading its weights.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "gguf/describe.h"
#include "gguf/gguf.h"

namespace loadline::cli {
namespace {

using nlohmann::json;

struct InspectOptions {
  std::string model;
  bool as_json = false;
  bool tensors = false;
  bool full = false;
};

// ---- text
// --------------------------------------------------------------------------------------------------------------

// Rows of cells; the first column is aligned left, the others right.
class Table {
 public:
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  [[nodiscard]] std::string text() const {
    std::vector<std::size_t> widths;
    for (const auto& cells : rows_) {
      widths.resize(std::max(widths.size(), cells.size()));
      for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], cells[i].size());
    }
    std::string text;
    for (const auto& cells : rows_) {
      std::string line;
      for (std::size_t i = 0; i < cells.size(); ++i) {
        line += i == 0 ? fmt::format("  {:<{}}", cells[i], widths[i]) : fmt::format("  {:>{}}", cells[i], widths[i]);
      }
      text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string shape_text(const gguf::TensorInfo& tensor) {
  std::string text;
  for (std::uint32_t d = 0; d < tensor.dimensions; ++d)
    text += fmt::format("{}{}", d == 0 ? "" : " x ", tensor.shape[d]);
  return text;
}

std::string metadata_text(const gguf::Model& model, bool full) {
  std::string text =
      fmt::format("metadata: {} keys, GGUF version {}\n", model.metadata.entries().size(), model.version);
  std::size_t width = 0;
  for (const auto& [key, value] : model.metadata.entries()) width = std::max(width, printable(key).size());
  for (const auto& [key, value] : model.metadata.entries()) {
    text += fmt::format("  {:<{}}  {}\n", printable(key), std::min<std::size_t>(width, 50), value_text(value, full));
  }
  return text;
}

// A column for every format, a row for every group of tensors, sums below.
std::string groups_text(const gguf::Model& model) {
  const gguf::FormatSums sums = sum_formats(model);
  const auto row = [&](std::string name, const gguf::FormatSums& formats, std::uint64_t tensors) {
    std::vector<std::string> cells = {std::move(name), grouped(tensors)};
    Bytes total;
    for (const auto& [type, sum] : sums) {
      const auto own = formats.find(type);
      cells.push_back(own == formats.end() ? "-" : to_string(own->second.bytes));
      if (own != formats.end()) total += own->second.bytes;
    }
    cells.push_back(to_string(total));
    return cells;
  };

  Table table;
  std::vector<std::string> header = {"", "tensors"};
  for (const auto& [type, sum] : sums) header.emplace_back(quant::name_of(type));
  header.emplace_back("total");
  table.row(std::move(header));
  for (const gguf::TensorGroup& group : group_by_layer(model)) {
    const std::string name = group.layers.empty()
                                 ? printable(group.name)
                                 : (group.layers.size() == 1 ? "layer " : "layers ") + gguf::ranges_text(group.layers);
    table.row(row(printable(name, 60), group.formats, group.tensors));
  }
  table.row(row("total", sums, model.tensors.size()));
  return fmt::format("tensors: by layer and format\n{}", table.text());
}

std::string tensors_text(const gguf::Model& model) {
  Table table;
  table.row({"", "format", "shape", "size"});
  for (const gguf::TensorInfo& tensor : model.tensors) {
    table.row(
        {printable(tensor.name), std::string(quant::name_of(tensor.type)), shape_text(tensor), to_string(tensor.size)});
  }
  return fmt::format("tensors: each\n{}", table.text());
}

// ---- JSON
// --------------------------------------------------------------------------------------------------------------

// Of an array that is not shown in full.
constexpr std::size_t kItemsShown = 6;

// The shortest number that is this float again, so that 1e-05 does not become 9.999999747378752e-06.
double shortest(float number) { return std::isfinite(number) ? std::stod(fmt::format("{}", number)) : number; }

template <typename T>
json plain_json(const T& plain) {
  if constexpr (std::is_same_v<T, float>) return shortest(plain);
  return plain;
}

json array_json(const gguf::Array& array, bool full) {
  json values = json::array();
  std::visit(
      [&](const auto& elements) {
        using Element = typename std::decay_t<decltype(elements)>::value_type;
        const std::size_t shown = full ? elements.size() : std::min(elements.size(), kItemsShown);
        for (std::size_t i = 0; i < shown; ++i) {
          if constexpr (std::is_same_v<Element, gguf::Array>) {
            values.push_back(array_json(elements[i], full));
          } else {
            values.push_back(plain_json<Element>(elements[i]));
          }
        }
      },
      array.items);
  return {{"type", "array"}, {"of", name_of(array.element_type)}, {"count", array.size()}, {"values", values}};
}

json value_json(const gguf::Value& value, bool full) {
  if (const auto* array = std::get_if<gguf::Array>(&value.data)) return array_json(*array, full);
  json stored = std::visit(
      []<typename T>(const T& plain) -> json {
        if constexpr (std::is_same_v<T, gguf::Array>) {
          return nullptr;  // handled above
        } else {
          return plain_json(plain);
        }
      },
      value.data);
  return {{"type", name_of(value.type())}, {"value", std::move(stored)}};
}

json model_json(const gguf::Model& model, bool full) {
  const gguf::Summary summary = summarise(model);
  json metadata = json::object();
  for (const auto& [key, value] : model.metadata.entries()) metadata[key] = value_json(value, full);
  json files = json::array();
  for (const File& file : model.files) files.push_back({{"path", file.path().string()}, {"bytes", file.size().value}});
  json formats = json::object();
  for (const auto& [type, sum] : sum_formats(model)) {
    formats[std::string(quant::name_of(type))] = {
        {"tensors", sum.tensors}, {"parameters", sum.elements}, {"bytes", sum.bytes.value}};
  }
  json tensors = json::array();
  for (const gguf::TensorInfo& tensor : model.tensors) {
    json entry = {{"name", tensor.name},
                  {"format", quant::name_of(tensor.type)},
                  {"shape", std::vector(tensor.shape.begin(), tensor.shape.begin() + tensor.dimensions)},
                  {"bytes", tensor.size.value},
                  {"file", tensor.file},
                  {"offset", tensor.offset.value}};
    if (const auto layer = gguf::layer_of(tensor.name)) entry["layer"] = *layer;
    tensors.push_back(std::move(entry));
  }
  return {{"name", summary.name},
          {"architecture", summary.architecture},
          {"format", summary.format},
          {"parameters", summary.parameters},
          {"tensor_bytes", model.tensor_bytes().value},
          {"gguf_version", model.version},
          {"files", std::move(files)},
          {"metadata", std::move(metadata)},
          {"formats", std::move(formats)},
          {"tensors", std::move(tensors)}};
}

int inspect(const InspectOptions& options) {
  const gguf::Model model = gguf::open_model(options.model);
  if (options.as_json) {
    // Text in a model may be in any encoding; what is not UTF-8 becomes U+FFFD.
    print_json(model_json(model, options.full).dump(2, ' ', false, json::error_handler_t::replace) + "\n");
    return 0;
  }
  print(fmt::format("{}\n\n{}", to_line(summarise(model)), metadata_text(model, options.full)));
  if (model.tensors.empty()) return 0;
  print("\n" + (options.tensors ? tensors_text(model) : groups_text(model)));
  return 0;
}

}  // namespace

void add_inspect(Program& program) {
  const auto options = std::make_shared<InspectOptions>();
  Command& command = program.add_command("inspect", "Shows what a model file holds, without reading its weights");
  command.option("MODEL,-m,--model", &options->model, "A GGUF file, or the first of a split model's",
                 {.required = true});
  command.flag("--tensors", options->tensors, "List every tensor instead of sums by layer");
  command.flag("--full", options->full, "Show long texts and arrays, such as the vocabulary, in full");
  command.flag("--json", options->as_json, "Print JSON; it lists every tensor");
  command.set_action([options] { return inspect(*options); });
}

}  // namespace loadline::cli
