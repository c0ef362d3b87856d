// `loadline serve`: a model behind HTTP, for the clients that people have.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <cctype>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/environment.h"
#include "cli/output.h"
#include "cli/pressure.h"
#include "cli/served_model.h"
#include "cli/service_manager.h"
#include "cli/terminal.h"
#include "serve/model_folder.h"
#include "serve/router.h"

namespace loadline::cli {
namespace {

struct ServeOptions {
  ServedOptions served;
  std::string host = "127.0.0.1";
  std::int64_t port = 8080;
  std::vector<std::string> api_keys;
  std::string api_key_file;
  std::string certificate, key;
  std::string most_body = "16MiB";
  std::int64_t patience = 60;  // s
  std::string presets;         // a file
  bool log = true;
  bool log_json = false;
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

// What bounds its memory.
serve::HttpOptions http_limits(const ServeOptions& options) {
  serve::HttpOptions http;
  http.most_body = options.served.most_body;
  http.most_bodies = options.served.most_bodies;
  http.certificate = options.certificate;
  http.key = options.key;
  return http;
}

serve::HttpOptions http_options(const ServeOptions& options) {
  serve::HttpOptions http = http_limits(options);
  http.host = options.host;
  http.port = static_cast<std::uint16_t>(options.port);
  http.refusal = serve::refusal_text;
  http.patience = static_cast<double>(options.patience);
  http.trouble = [](const std::string& sentence) { say(printable(sentence, 600)); };
  if (options.certificate.empty() != options.key.empty()) {
    throw bad_input("TLS needs both a certificate and its key", "Give --tls-cert and --tls-key.");
  }
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

// In lower case; empty where nobody knows.
std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name.data();
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

// The server's threads and what all requests go through; the models are its caller's.
class Host {
 public:
  // `self`, where there is one, is set before anybody can ask anything.
  Host(const ServeOptions& options, serve::Models& models, Host** self = nullptr)
      : server_(http_options(options), [this](serve::Request request, std::shared_ptr<serve::Reply> reply) {
          router_->handle(std::move(request), reply);
        }) {
    const bool loopback = options.host.starts_with("127.") || options.host == "localhost" || options.host == "::1";
    router_.emplace(models,
                    serve::RouterOptions{
                        .worker = &worker_, .keys = keys_of(options), .loopback = loopback, .machine = machine_name()});
    if (self != nullptr) *self = this;
    network_.emplace(server_);
    print(fmt::format("http{}://{}:{}\n", options.certificate.empty() ? "" : "s", options.host, server_.port()));
  }
  void post(std::function<void()> function) { server_.post(std::move(function)); }
  void stop(double grace) { network_->stop(grace); }

 private:
  std::optional<serve::Router> router_;
  serve::HttpServer server_;
  serve::Worker worker_;
  std::optional<Network> network_;
};

constexpr double kGrace = 10;  // s

void wait_for_the_end(const StopOnInterrupt& interrupt) {
  notify_service_manager("READY=1\nSTATUS=Ready");
  while (!interrupt.flag().load() && !pressure_stopped()) interrupt.wait();
  notify_service_manager("STOPPING=1");
}

int serve_one(const ServeOptions& options) {
  const StopOnInterrupt interrupt;
  const ServedOptions& how = options.served;
  PlannedModel planned =
      plan_served(how, how.model.open(how.plan.most_header()), how.aliases.empty() ? "" : how.aliases.front());
  for (std::size_t i = 1; i < how.aliases.size(); ++i) planned.served->aliases.push_back(how.aliases[i]);

  // The port is open while the model loads, and says so.
  serve::OneModel models;
  Host host(options, models);
  ProgressBar bar("loading");
  const auto progress = [&](Bytes done, Bytes total) {
    bar.update(static_cast<double>(done.value) / static_cast<double>(total.value),
               fmt::format("{} of {}", to_string(done), to_string(total)));
  };
  const auto notify = [&host, &models] {
    host.post([&models] {
      for (const auto& one : models.loaded()) one->service->deliver();
    });
  };
  const std::shared_ptr<serve::Served> served =
      load_served(how, std::move(planned), {notify, {}}, progress, interrupt.flag());
  if (served == nullptr) return static_cast<int>(ErrorCode::Interrupted);
  host.post([&] { models.set(served); });
  say(fmt::format("ready; {} answers at a time, {} more may wait · Ctrl-C ends", served->service->places(),
                  how.most_waiting));
  wait_for_the_end(interrupt);
  served->service->wind_down();
  host.stop(kGrace);
  served->end();
  return pressure_stopped() ? static_cast<int>(ErrorCode::DoesNotFit) : 0;
}

int serve_folder(const ServeOptions& options) {
  const StopOnInterrupt interrupt;
  const ServedOptions& how = options.served;
  Host* host = nullptr;
  serve::FolderOptions folder;
  folder.folder = how.models;
  folder.aliases = aliases_of(how);
  for (const auto& [name, section] : how.presets.sections()) (void)options_for(how, name);  // says what is wrong now
  folder.open = [&how](const std::filesystem::path& file, const std::string& name) {
    return open_candidate(how, file, name);
  };
  folder.requests = shared_request_memory(how);
  folder.log = [](const std::string& line) { say(printable(line, 600)); };
  folder.post = [&host](std::function<void()> function) { host->post(std::move(function)); };  // once somebody asks
  serve::ModelFolder models(std::move(folder));
  Host it(options, models, &host);
  const auto count = models.list().size();
  say(fmt::format("ready; {} model{} in {}, loaded when they are asked for · Ctrl-C ends", count, count == 1 ? "" : "s",
                  printable(how.models)));
  wait_for_the_end(interrupt);
  models.wind_down();
  it.stop(kGrace);
  models.stop();
  return pressure_stopped() ? static_cast<int>(ErrorCode::DoesNotFit) : 0;
}

}  // namespace

void add_serve(Program& program) {
  auto options = std::make_shared<ServeOptions>();
  Command& command =
      program.add_command("serve", "Answer HTTP clients in OpenAI's API and others (without -m: the demo model)");
  options->served.model.set_demo("demo-chat.gguf");
  options->served.model.add_to(command);
  Option& models = command.option("--models,--models-dir", &options->served.models,
                                  "Folder of models, each loaded when a request names it (in place of -m)");
  command.option("-a,--alias", &options->served.aliases,
                 "What clients call the model; several with commas, or repeated. With --models: NAME=MODEL",
                 {.separator = ','});
  command.option("--host", &options->host, "Address to listen at; 0.0.0.0: all", {.show_default = true});
  command.option("--port", &options->port, "Port to listen at; 0: any that is free",
                 {.least = 0, .most = 65535, .show_default = true});
  command.option("--api-key", &options->api_keys, "Key that clients must give; several with commas, or repeated");
  command.option("--api-key-file", &options->api_key_file, "Keys, one a line");
  command.option("--tls-cert,--ssl-cert-file", &options->certificate, "Certificate chain in PEM: speak HTTPS");
  command.option("--tls-key,--ssl-key-file", &options->key, "Its private key in PEM");
  command.flag("--log-disable", options->log, "No line for each request", {}, false);
  command.flag("--log-json", options->log_json, "That line as JSON");
  command.option("--max-body", &options->most_body, "Largest body of a request", {.show_default = true});
  command.option("-to,--timeout", &options->patience,
                 "Seconds for a request to come whole, and for a client to read what there is",
                 {.least = 1, .most = 86400, .show_default = true});
  Option& presets = command.option("--models-preset", &options->presets,
                                   "File of options for each model of the folder: [MODEL] or [*], and NAME = VALUE");
  options->served.add_to(command);
  command.set_footer(
      "Options may also be given by environment: LOADLINE_ARG_CTX_SIZE is --ctx-size, and so on; llama.cpp's "
      "variables\n"
      "that mean the same are taken too. No text of a request is ever logged.");
  command.set_action([options, &command, &models, &presets] {
    apply_environment(command);
    if (presets.given()) options->served.presets = ModelPresets::read(options->presets, command);
    for (Option& option : command.options()) {  // four clients at once, where nobody says how many
      if (option.name() == "--parallel" && !option.given()) option.take(option.name(), "4");
    }
    (void)on_pressure_of(options->served.on_pressure);
    options->served.most_body = parse_bytes(options->most_body, "--max-body");
    options->served.most_bodies = 2 * options->served.most_body;
    options->served.connections = serve::most_memory(http_limits(*options));
    if (!models.given()) {
      if (presets.given()) throw bad_input("presets are for the models of a folder", "Name it with --models.");
      return serve_one(*options);
    }
    if (!options->served.model.demo())
      throw bad_input("one model is named, and a folder of models too", "Give -m or --models.");
    return serve_folder(*options);
  });
}

}  // namespace loadline::cli
