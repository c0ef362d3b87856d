// Which server a command asks, and what it answers.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "base/bytes.h"
#include "cli/option.h"

namespace loadline::cli {

// Members of what a server sent, which may be anything: 0 and "" where they are not that.
double number_in(const nlohmann::ordered_json& object, const char* name);
Bytes bytes_in(const nlohmann::ordered_json& object, const char* name);
std::string text_in(const nlohmann::ordered_json& object, const char* name);
// An empty list, or object, where it is none.
const nlohmann::ordered_json& list_in(const nlohmann::ordered_json& object, const char* name);
const nlohmann::ordered_json& object_in(const nlohmann::ordered_json& object, const char* name);

class ServerOptions {
 public:
  void add_to(Command& command);
  // The JSON of an answer. What the server refuses is thrown as the Error that it would have been here. `patience`: s.
  [[nodiscard]] nlohmann::ordered_json get(const std::string& path, double patience = 10) const;
  [[nodiscard]] nlohmann::ordered_json post(const std::string& path, const nlohmann::ordered_json& body,
                                            double patience) const;
  // "http://127.0.0.1:8080".
  [[nodiscard]] std::string url() const;

 private:
  [[nodiscard]] nlohmann::ordered_json ask(const std::string& method, const std::string& path, const std::string& body,
                                           double patience) const;

  std::string server_;
  std::string key_;
  std::string certificate_;
};

}  // namespace loadline::cli
