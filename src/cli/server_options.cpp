#include "cli/server_options.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

#include "base/error.h"
#include "base/text.h"
#include "serve/http_client.h"

namespace loadline::cli {

using Json = nlohmann::ordered_json;

double number_in(const Json& object, const char* name) {
  if (!object.is_object()) return 0;
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

Bytes bytes_in(const Json& object, const char* name) {
  const double value = number_in(object, name);
  return Bytes(value > 0 && value < 1e18 ? static_cast<std::uint64_t>(value) : 0);
}

std::string text_in(const Json& object, const char* name) {
  if (!object.is_object()) return {};
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const Json& list_in(const Json& object, const char* name) {
  static const Json kNone = Json::array();
  if (!object.is_object()) return kNone;
  const auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : kNone;
}

const Json& object_in(const Json& object, const char* name) {
  static const Json kNone = Json::object();
  if (!object.is_object()) return kNone;
  const auto found = object.find(name);
  return found != object.end() && found->is_object() ? *found : kNone;
}

void ServerOptions::add_to(Command& command) {
  command.option("SERVER", &server_, "Where it is: http:// or https:// (default: http://127.0.0.1:8080)");
  command.option("--api-key", &key_, "Key, where the server wants one (default: $LOADLINE_API_KEY)");
  command.option("--tls-cert", &certificate_,
                 "Certificate to trust, in PEM, where it is not one that this system trusts");
}

std::string ServerOptions::url() const {
  const serve::Address address = serve::parse_address(server_);
  const bool six = address.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", address.tls ? "https" : "http", six ? "[" : "", address.host, six ? "]" : "",
                     address.port);
}

Json ServerOptions::ask(const std::string& method, const std::string& path, const std::string& body,
                        double patience) const {
  std::string key = key_;
  if (const char* known = std::getenv("LOADLINE_API_KEY"); key.empty() && known != nullptr) key = known;
  const serve::Answer answer =
      serve::ask(serve::parse_address(server_), method, path, body, {key, patience, certificate_});
  Json json = Json::parse(answer.body, nullptr, false);
  if (answer.status == 200 && json.is_object()) return json;
  std::string sentence = fmt::format("the server answers with status {}", answer.status);
  std::string hint;
  const Json& error = object_in(json, "error");
  if (!text_in(error, "message").empty()) sentence = text_in(error, "message");
  hint = text_in(error, "hint");
  const bool fits = text_in(error, "type") != "does_not_fit";
  if (answer.status == 401) hint = "Give the server's key.";
  const ErrorCode code = !fits                 ? ErrorCode::DoesNotFit
                         : answer.status < 500 ? ErrorCode::BadInput
                                               : ErrorCode::DeviceFailure;
  throw Error(code, printable(sentence, 4000), hint);
}

Json ServerOptions::get(const std::string& path, double patience) const { return ask("GET", path, "", patience); }

Json ServerOptions::post(const std::string& path, const Json& body, double patience) const {
  return ask("POST", path, body.dump(-1, ' ', true, Json::error_handler_t::replace), patience);
}

}  // namespace loadline::cli
