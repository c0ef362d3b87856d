// loadline synth: a model file of true size and structure with random weights.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "authoring/synthesize.h"
#include "base/error.h"
#include "cli/authoring_progress.h"
#include "cli/command.h"
#include "cli/output.h"

namespace loadline::cli {
namespace {

struct SynthCommandOptions {
  std::string shape;
  std::string type = "Q4_K_M";
  std::string out;
  authoring::SynthOptions synth;
  bool list = false;
};

template <class Rows>
std::string names_of(const Rows& rows) {
  std::string names;
  for (const auto& row : rows) names += fmt::format("{}{}", names.empty() ? "" : " ", row.name);
  return names;
}

// "8.03 B", "494 M"
std::string parameters(const std::vector<gguf::TensorInfo>& tensors) {
  double count = 0;
  for (const gguf::TensorInfo& tensor : tensors) count += static_cast<double>(tensor.elements());
  return count < 1e9 ? fmt::format("{:.3g} M", count * 1e-6) : fmt::format("{:.2f} B", count * 1e-9);
}

Bytes size_of(const std::vector<gguf::TensorInfo>& tensors) {
  Bytes size;
  for (const gguf::TensorInfo& tensor : tensors) size += tensor.size;
  return size;
}

int list_shapes(const std::string& type, const model::FormatMix& mix) {
  print(fmt::format("{:<16} {:>10} {:>7} {:>9} {:>10} {:>9}\n", "shape", "parameters", "layers", "context",
                    "vocabulary", type));
  for (const authoring::Shape& shape : authoring::all_shapes()) {
    const std::vector<gguf::TensorInfo> tensors = authoring::tensors_of(shape, mix);
    print(fmt::format("{:<16} {:>10} {:>7} {:>9} {:>10} {:>9}\n", shape.name, parameters(tensors), shape.layers,
                      shape.context, shape.vocabulary, to_string(size_of(tensors))));
  }
  return 0;
}

int synth(const SynthCommandOptions& options) {
  const model::FormatMix* mix = model::find_mix(options.type);
  if (mix == nullptr) {
    throw bad_input(fmt::format("--type {}: there is no such type", options.type),
                    fmt::format("Types: {}.", names_of(model::all_mixes())));
  }
  if (options.list) return list_shapes(options.type, *mix);
  if (options.shape.empty() || options.out.empty()) {
    throw bad_input("synth needs --shape NAME and the file to write", "`loadline synth --list` shows the shapes.");
  }
  const authoring::Shape* shape = authoring::find_shape(options.shape);
  if (shape == nullptr) {
    throw bad_input(fmt::format("--shape {}: there is no such shape", options.shape),
                    fmt::format("Shapes: {}.", names_of(authoring::all_shapes())));
  }
  AuthoringProgress progress("writing");
  authoring::synthesize(*shape, *mix, options.synth, options.out, progress.progress());
  const Bytes size = size_of(authoring::tensors_of(*shape, *mix));
  say(fmt::format("{}: {} · {} · {} of {} weights, {:.1f} s", options.out, shape->title, mix->name, to_string(size),
                  options.synth.header_only ? "absent" : "random", progress.seconds()));
  return 0;
}

}  // namespace

void add_synth(Program& program) {
  const auto options = std::make_shared<SynthCommandOptions>();
  Command& command = program.add_command("synth", "Write a model of a known shape with random weights");
  command.set_footer(
      "The file has the true tensor shapes, format mix, metadata and vocabulary size of the model it is named after,\n"
      "and runs at that model's speed. Its weights are random and its words made up: it says nothing sensible.");
  command.option("--shape", &options->shape, "Which model's shape (see --list)");
  command.option("--type", &options->type, "Format mix: Q4_K_M, Q8_0, F16, ...", {.show_default = true});
  command.option("--seed", &options->synth.seed, "Other seeds give other weights", {.show_default = true});
  command.flag("--header-only", options->synth.header_only,
               "Leave the weights out: a sparse file of the full size, for planning");
  command.flag("--list", options->list, "Show the shapes and their sizes in this type");
  command.option("OUT", &options->out, "The .gguf file to write");
  command.set_action([options] { return synth(*options); });
}

}  // namespace loadline::cli
