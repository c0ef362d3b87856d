// `loadline budget`: gives a running server other budgets; what it answers goes on.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/server_options.h"

namespace loadline::cli {
namespace {

using Json = nlohmann::ordered_json;

struct BudgetOptions {
  ServerOptions server;
  std::string ram, vram, context;
  bool as_json = false;
};

// As people write it, checked here, so that a slip costs no request. "auto": nobody names one.
void set_size(Json& body, const char* field, const std::string& text) {
  if (text.empty()) return;
  if (text != "auto") (void)parse_bytes(text, fmt::format("--{}", field));
  body[field] = text;
}

// "0=6GiB,1=4GiB" as the server takes it.
void set_vram(Json& body, const std::string& text) {
  if (text.find('=') == std::string::npos) return set_size(body, "vram", text);
  plan::Options named;
  parse_vram(text, named);
  for (const auto& [gpu, size] : named.gpu_budgets) body["vram"][std::to_string(gpu)] = size.value;
}

std::string tier_line(const Json& tier) {
  return fmt::format("{:<24} {:>12} of {:>12}\n", printable(text_in(tier, "name")),
                     to_string(bytes_in(tier, "planned")), to_string(bytes_in(tier, "budget")));
}

int run(const BudgetOptions& options) {
  Json body = Json::object();
  set_size(body, "ram", options.ram);
  set_vram(body, options.vram);
  if (options.context == "max") {
    body["context"] = "max";
  } else if (!options.context.empty()) {
    body["context"] = Json::parse(options.context, nullptr, false);
  }
  if (body.empty()) throw bad_input("no budget was given", "Give --ram, --vram or both.");
  constexpr double kPatience = 3600;  // s: a large model from a slow disk
  const Json answer = options.server.post("/api/loadline/budget", body, kPatience);
  if (options.as_json) {
    print_json(answer.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return 0;
  }
  std::string text;
  for (const Json& tier : list_in(answer, "tiers")) {
    if (text_in(tier, "kind") != "disk") text += tier_line(tier);
  }
  const Json& change = object_in(answer, "interruption");
  const std::string texts = bytes_in(change, "kept_caches").value > 0
                                ? fmt::format("{:.0f} tokens stayed in the cache", number_in(change, "kept_tokens"))
                                : fmt::format("{:.0f} tokens are computed again", number_in(change, "tokens"));
  text += fmt::format(
      "{:.3g} tok/s are predicted now; loading {} took {:.2f} s, {} of weights stayed, and {} "
      "({:.2f} s without tokens were predicted)\n",
      number_in(answer, "generation_rate"), to_string(bytes_in(change, "weights")), number_in(change, "load_seconds"),
      to_string(bytes_in(change, "kept")), texts, number_in(change, "predicted_seconds"));
  print(text);
  return 0;
}

}  // namespace

void add_budget(Program& program) {
  auto options = std::make_shared<BudgetOptions>();
  Command& command = program.add_command("budget", "Give a running server other budgets; its answers go on");
  options->server.add_to(command);
  command.option("--vram", &options->vram, "Most GPU memory to take: 6GiB, 0=6GiB,1=4GiB, or auto");
  command.option("--ram", &options->ram, "Most RAM to take: 4GiB, or auto");
  command.option("-c,--ctx-size", &options->context, "Context in tokens, all sequences together (default: as it is)");
  command.flag("--json", options->as_json, "Print what the server answers");
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
