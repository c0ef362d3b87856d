// `loadline serve`: a model behind HTTP, for the clients that people have.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <ctime>
#include <memory>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "chat/model_template.h"
#include "cli/chat_template.h"
#include "cli/command.h"
#include "cli/environment.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/plan_options.h"
#include "cli/sample_options.h"
#include "cli/service_manager.h"
#include "cli/terminal.h"
#include "engine/engine.h"
#include "plan/refusal.h"
#include "plan/render.h"
#include "serve/router.h"
#include "watch/report.h"
#include "watch/watcher.h"

namespace loadline::cli {
namespace {

struct ServeOptions {
  ModelOptions model;
  std::string alias;
  std::string host = "127.0.0.1";
  std::int64_t port = 8080;
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::string certificate, key;
  std::int64_t most_waiting = 64;
  std::string most_body = "32MiB";
  bool log = true;
  bool log_json = false;
  TemplateOptions chat;
  PlanOptions plan;
  SampleOptions sampling;
};

// Those given, which may be several with commas between them, and the lines of the file.
std::vector<std::string> keys_of(const ServeOptions& options) {
  std::vector<std::string> keys;
  const auto add_all = [&](std::string_view text, std::string_view separators) {
    while (!text.empty()) {
      const std::size_t end = std::min(text.find_first_of(separators), text.size());
      if (end > 0) keys.emplace_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  };
  for (const std::string& given : options.api_keys) add_all(given, ",");
  if (!options.api_key_file.empty()) {
    const std::string text = read_text_file(options.api_key_file, kMiB);
    const std::size_t before = keys.size();
    add_all(text, "\r\n");
    if (keys.size() == before) {
      throw bad_input(fmt::format("{} has no keys", printable(options.api_key_file)), "Write one on each line.");
    }
  }
  return keys;
}

serve::HttpOptions http_options(const ServeOptions& options) {
  serve::HttpOptions http;
  http.host = options.host;
  http.port = static_cast<std::uint16_t>(options.port);
  http.most_body = parse_bytes(options.most_body, "--max-body");
  http.most_bodies = 2 * http.most_body;
  if (options.certificate.empty() != options.key.empty()) {
    throw bad_input("TLS needs both a certificate and its key", "Give --tls-cert and --tls-key.");
  }
  http.certificate = options.certificate;
  http.key = options.key;
  http.descriptor = handed_over_socket();
  if (options.log_json) {
    http.log = [](const serve::Exchange& one) {
      const nlohmann::ordered_json line = {
          {"time", std::time(nullptr)}, {"client", one.client},   {"method", one.method},
          {"path", one.path},           {"status", one.status},   {"received", one.received},
          {"sent", one.sent},           {"seconds", one.seconds}, {"whole", one.whole}};
      say(line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    };
  } else if (options.log) {
    http.log = [](const serve::Exchange& one) {
      say(fmt::format("{} {} {} · {} · {} · {:.2f} s{}", one.client, printable(one.method), printable(one.path),
                      one.status, to_string(Bytes(one.sent)), one.seconds, one.whole ? "" : " · the client left"));
    };
  }
  return http;
}

// Runs the server in a thread of its own, until it is stopped or this goes.
class Network {
 public:
  explicit Network(serve::HttpServer& server) : server_(server), thread_([&server] { server.run(); }) {}
  ~Network() {
    if (thread_.joinable()) stop(0);
  }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // What is being answered may come to its end, for so many seconds.
  void stop(double grace) {
    server_.stop(grace);
    thread_.join();
  }

 private:
  serve::HttpServer& server_;
  std::thread thread_;
};

std::unique_ptr<engine::Engine> load(ModelSource source, plan::Plan plan, const std::atomic<bool>& stop) {
  ProgressBar bar("loading");
  return engine::Engine::load(
      std::move(source.model), std::move(source.program), std::move(plan),
      [&](Bytes done, Bytes total) {
        bar.update(static_cast<double>(done.value) / static_cast<double>(total.value),
                   fmt::format("{} of {}", to_string(done), to_string(total)));
      },
      stop);
}

// What clients call a model that nobody named: its file's name, less ending and part.
std::string usual_name(const ModelSource& source) {
  if (source.demo) return "demo";
  std::string name = source.model.files.front().path().stem().string();
  if (const std::size_t part = name.find("-00001-of-"); part != std::string::npos) name.resize(part);
  return name;
}

void describe(const ModelSource& source, const ServeOptions& options, serve::Served& served) {
  const gguf::Metadata& metadata = source.model.metadata;
  const auto text = [&](const char* key) {
    const std::string* found = metadata.get_string(key);
    return found == nullptr ? std::string() : *found;
  };
  served.name = options.alias.empty() ? usual_name(source) : options.alias;
  served.aliases = {usual_name(source)};
  served.since = std::time(nullptr);
  served.bos = chat::bos_text(metadata);
  served.eos = chat::eos_text(metadata);
  served.architecture = text("general.architecture");
  served.size_label = text("general.size_label");
  served.file_size = source.model.tensor_bytes();
  for (const gguf::TensorInfo& tensor : source.model.tensors) served.parameters += tensor.elements();
}

// Says what is wrong with the machine as it happens, and tells it whoever asks.
void watch_over(engine::Engine& engine, serve::Served& served, std::optional<watch::Watcher>& watcher) {
  watch::Watcher::Options options = watch::watch_engine(engine, served.machine);
  options.on_change = [](const watch::Change& change) {
    constexpr std::size_t kMostLine = 600;
    say(change.begins ? printable(watch::line(change.verdict), kMostLine)
                      : fmt::format("{}: over", watch::name_of(change.verdict.kind)));
  };
  watcher.emplace(std::move(options));
  served.watch_json = [&watcher] { return watch::to_json(watcher->status()); };
  served.watch_metrics = [&watcher] { return watch::metrics(watcher->status()); };
}

int run(const ServeOptions& options) {
  const serve::HttpOptions http = http_options(options);
  std::vector<std::string> keys = keys_of(options);
  ModelSource source = options.model.open(options.plan.most_header());
  auto tokenizer = tokenizer::Tokenizer::from_metadata(source.model.metadata);
  const chat::ModelTemplate chosen = options.chat.choose(&source.model.metadata);
  serve::Served served;
  describe(source, options, served);
  served.sampling = options.sampling.options(*tokenizer);
  served.template_name = chosen.name;
  served.chat_template = std::make_unique<const chat::Template>(chosen.source);
  served.can = chat::capabilities_of(*served.chat_template);
  served.format = chat::output_format_of(chosen.source);

  const plan::Plan plan = options.plan.make_plan(source.model, source.program, 0, &served.machine);
  served.plan_options = options.plan.options();
  served.digest = std::string(64, '0');
  const StopOnInterrupt interrupt;
  say(plan::summary_line(plan, source.title));
  for (const std::string& note : options.plan.notes(plan, source)) say(note);
  for (const std::string& remark : tokenizer->remarks()) say(remark);
  if (chosen.assumed) say(fmt::format("the model has no chat template; {} is used", chosen.name));

  // The port is open while the model loads, and says so. What replies need goes last.
  serve::OneModel models;
  const bool loopback = options.host.starts_with("127.") || options.host == "localhost" || options.host == "::1";
  std::optional<serve::Router> router;
  serve::HttpServer server(
      http, [&router](serve::Request request, std::shared_ptr<serve::Reply> reply) { router->handle(request, reply); });
  serve::Worker worker;
  router.emplace(models, serve::RouterOptions{.worker = &worker, .keys = std::move(keys), .loopback = loopback});
  Network network(server);
  print(fmt::format("http{}://{}:{}\n", http.certificate.empty() ? "" : "s", options.host, server.port()));
  auto engine = load(std::move(source), plan, interrupt.flag());
  if (engine == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  engine::Engine& watched = *engine;
  std::optional<watch::Watcher> watcher;  // goes before what it watches
  served.service = std::make_unique<serve::Service>(
      std::move(engine), std::move(tokenizer),
      serve::ServiceOptions{.most_waiting = static_cast<std::uint32_t>(options.most_waiting),
                            .notify = [&] { server.post([&] { served.service->deliver(); }); }});
  watch_over(watched, served, watcher);
  server.post([&] { models.set(&served); });
  say(fmt::format("ready; {} answers at a time, {} more may wait · Ctrl-C ends", served.service->places(),
                  options.most_waiting));
  notify_service_manager("READY=1\nSTATUS=Ready");
  while (!interrupt.flag().load()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  constexpr double kGrace = 10;  // s
  notify_service_manager("STOPPING=1");
  served.service->wind_down();
  network.stop(kGrace);
  watcher.reset();
  served.service.reset();
  return 0;
}

}  // namespace

void add_serve(Program& program) {
  auto options = std::make_shared<ServeOptions>();
  Command& command =
      program.add_command("serve", "Answer HTTP clients in OpenAI's API and others (without -m: the demo model)");
  options->model.set_demo("demo-chat.gguf");
  options->model.add_to(command);
  command.option("-a,--alias", &options->alias, "What clients call the model");
  command.option("--host", &options->host, "Address to listen at; 0.0.0.0: all", {.show_default = true});
  command.option("--port", &options->port, "Port to listen at; 0: any that is free",
                 {.least = 0, .most = 65535, .show_default = true});
  command.option("--api-key", &options->api_keys, "Key that clients must give; several with commas, or repeated");
  command.option("--api-key-file", &options->api_key_file, "Keys, one a line");
  command.option("--tls-cert,--ssl-cert-file", &options->certificate, "Certificate chain in PEM: speak HTTPS");
  command.option("--tls-key,--ssl-key-file", &options->key, "Its private key in PEM");
  command.option("--max-queue", &options->most_waiting, "Requests that may wait for their turn",
                 {.least = 0, .most = 100000, .show_default = true});
  command.flag("--log-disable", options->log, "No line for each request", {}, false);
  command.flag("--log-json", options->log_json, "That line as JSON");
  command.option("--max-body", &options->most_body, "Largest body of a request", {.show_default = true});
  options->chat.add_to(command);
  options->plan.add_to(command);
  options->sampling.add_to(command);
  command.set_footer(
      "ServeOptions may also be given by environment: LOADLINE_ARG_CTX_SIZE is --ctx-size, and so on; llama.cpp's "
      "variables\n"
      "that mean the same are taken too. No text of a request is ever logged.");
  command.set_action([options, &command] {
    apply_environment(command);
    for (Option& option : command.options()) {  // four clients at once, where nobody says how many
      if (option.name() == "--parallel" && !option.given()) option.take(option.name(), "4");
    }
    return run(*options);
  });
}

}  // namespace loadline::cli
