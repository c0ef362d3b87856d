// The other end of the server, for commands that ask one: a request and its whole answer, over a connection of its own.
// Plain HTTP alone.
#pragma once

#include <string>
#include <string_view>

namespace loadline::serve {

struct Address {
  std::string host = "127.0.0.1";
  std::string port = "8080";
};
// "http://host:port", "host:port", "host", "[::1]:8080" or "8080"; empty: where `loadline serve` listens if nobody says
// otherwise. Throws Error(BadInput).
Address parse_address(std::string_view text);

struct Answer {
  int status = 0;
  std::string body;
};
// What a server sent until it closed the connection. Throws Error(DeviceFailure) where that is no whole answer of HTTP.
Answer parse_answer(std::string_view bytes);

// `key`: empty: none. Throws Error(DeviceFailure) where nobody answers within `patience` seconds, or not in HTTP.
Answer ask(const Address& address, std::string_view method, std::string_view path, std::string_view body,
           std::string_view key, double patience);

}  // namespace loadline::serve
