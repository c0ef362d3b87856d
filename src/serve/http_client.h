// The other end of the server, for commands that ask one: a request and its whole answer, over a connection of its own.
// In the clear, or through TLS to servers whose certificate is trusted.
#pragma once

#include <string>
#include <string_view>

namespace loadline::serve {

struct Address {
  std::string host = "127.0.0.1";
  std::string port = "8080";
  bool tls = false;
};
// "http://host:port", "https://host:port", "host:port", "host", "[::1]:8080" or "8080"; empty: where `loadline serve`
// listens if nobody says otherwise. Throws Error(BadInput).
Address parse_address(std::string_view text);

struct Answer {
  int status = 0;
  std::string body;
};
// What a server sent until it closed the connection. Throws Error(DeviceFailure) where that is no whole answer of HTTP.
Answer parse_answer(std::string_view bytes);

struct AskOptions {
  std::string key;          // empty: none
  double patience = 10;     // s
  std::string certificate;  // a file of those that are trusted, in PEM; empty: those that this system trusts
};
// Throws Error(DeviceFailure) where nobody answers in that time, or not in HTTP, and Error(BadInput) where the server's
// certificate is not trusted or is another's.
Answer ask(const Address& address, std::string_view method, std::string_view path, std::string_view body,
           const AskOptions& options);

}  // namespace loadline::serve
