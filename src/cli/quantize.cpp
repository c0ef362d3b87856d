// loadline quantize: the same model in other formats.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "authoring/requantize.h"
#include "base/error.h"
#include "cli/authoring_progress.h"
#include "cli/command.h"
#include "cli/output.h"

namespace loadline::cli {
namespace {

struct QuantizeOptions {
  std::string in;
  std::string out;
  std::string type;
  int threads = 0;
};

int quantize(const QuantizeOptions& options) {
  const model::FormatMix* mix = model::find_mix(options.type);
  if (mix == nullptr) {
    std::string names;
    for (const model::FormatMix& known : model::all_mixes()) names += fmt::format(" {}", known.name);
    throw bad_input(fmt::format("{}: there is no such type", options.type), fmt::format("Types:{}.", names));
  }
  const gguf::Model source = gguf::open_model(options.in);
  const int machine = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  AuthoringProgress progress("encoding");
  const authoring::Requantized result = authoring::requantize(
      source, *mix, options.threads > 0 ? options.threads : machine, options.out, progress.progress());
  say(fmt::format("{}: {} · {} to {} of weights, {:.1f} s", options.out, mix->name, to_string(result.before),
                  to_string(result.after), progress.seconds()));
  for (const auto& [wanted, got, tensors] : result.replaced) {
    say(fmt::format("{} tensor{} got {} instead of {}, whose blocks of {} values do not fill {} rows", tensors,
                    tensors == 1 ? "" : "s", quant::name_of(got), quant::name_of(wanted),
                    quant::format_of(wanted).block_elements, tensors == 1 ? "its" : "their"));
  }
  if (result.was_quantised) {
    say("The source had been quantised before: quantising an F16, BF16 or F32 file gives better results.");
  }
  return 0;
}

}  // namespace

void add_quantize(Program& program) {
  const auto options = std::make_shared<QuantizeOptions>();
  Command& command = program.add_command("quantize", "Write a model's weights in other formats");
  command.option("IN", &options->in, "The model, best in F16, BF16 or F32 (the first file of a split one)",
                 {.required = true});
  command.option("OUT", &options->out, "The .gguf file to write", {.required = true});
  command.option("TYPE", &options->type, "Format mix: Q4_K_M, Q8_0, IQ4_XS, ...", {.required = true});
  command.option("-t,--threads", &options->threads, "Threads (default: as many as the machine has)",
                 {.least = 1, .most = 1024});
  command.set_action([options] { return quantize(*options); });
}

}  // namespace loadline::cli
