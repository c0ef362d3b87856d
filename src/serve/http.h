// An HTTP/1.1 server as small as the dialects need: requests whole, replies whole or as streams, and word when a client
// has left. It knows no API. Boost's headers stay in http_server.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace loadline::serve {

struct Request {
  std::string method;                                        // "GET"
  std::string path;                                          // as sent, without the query
  std::string query;                                         // behind the "?"
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
  std::string client;  // its address

  // Empty where there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const;
};

// The answer to one request: `send`, or `begin`, any number of `write` and `end`. From any thread, one at a time; what
// is written after the client has left goes nowhere. A reply that is dropped unanswered closes the connection.
class Reply {
 public:
  virtual ~Reply() = default;
  virtual void send(int status, std::string_view type, std::string body) = 0;
  // A body of unknown length.
  virtual void begin(int status, std::string_view type) = 0;
  virtual void write(std::string text) = 0;
  virtual void end() = 0;
  // A body in pieces: `next` makes one, from the network's thread, whenever the client has read those before. Empty:
  // there was the last. It goes when the client does.
  virtual void send_pieces(int status, std::string_view type, std::function<std::string()> next) = 0;
  // A header of the reply, before `send` or `begin`.
  virtual void set_header(std::string name, std::string value) = 0;
  // Called once, from the network's thread, when the client leaves before the reply has ended, or reads too slowly.
  // At once where it has left already.
  virtual void when_gone(std::function<void()> callback) = 0;
  // Calls it from the network's thread after so many seconds, whatever has become of the client.
  virtual void after(double seconds, std::function<void()> callback) = 0;
  // It has no end of its own: a server that stops need not wait for it.
  virtual void set_endless() = 0;
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any
  Bytes most_body{std::uint64_t{32} << 20};
  Bytes most_header{std::uint64_t{64} << 10};
  Bytes most_unsent{std::uint64_t{1} << 20};          // of a reply whose client does not read; more, and it is dropped
  Bytes most_unsent_of_all{std::uint64_t{16} << 20};  // of all replies: more, and the one read slowest is dropped
  std::uint32_t most_connections = 512;
  // Of all bodies that are being received or answered, together.
  Bytes most_bodies{std::uint64_t{128} << 20};
  double patience = 60;  // s for a request to come whole, or for a client to read what there is
  // Of an answer that is made while its client reads, bytes/s: after `patience`, who has read less is dropped.
  Bytes least_rate{std::uint64_t{16} << 10};
  std::string certificate, key;  // PEM files: then it speaks TLS alone
  int descriptor = -1;           // of a socket that listens already; -1: one is made
  // The body, in JSON, that says why a request for this path is refused before it is handled; the path may be empty.
  std::function<std::string(std::string_view path, int status, std::string_view why)> refusal;
  // A line for the log, once an answer has ended. From the server's thread. Empty: none.
  std::function<void(const struct Exchange&)> log;
  // A sentence about what went wrong within the server itself. Likewise.
  std::function<void(const std::string&)> trouble;
};
// Whether who has read so many bytes of such an answer in so many seconds is dropped.
inline bool reads_too_slowly(const HttpOptions& options, double seconds, std::uint64_t bytes) {
  return seconds > options.patience &&
         static_cast<double>(bytes) < seconds * static_cast<double>(options.least_rate.value);
}
// The most that its connections take of RAM, together, beside the bodies.
Bytes most_memory(const HttpOptions& options);

// A request and its answer, after it.
struct Exchange {
  std::string method, path, client;
  int status = 0;                        // 0: none was sent
  std::uint64_t received = 0, sent = 0;  // bytes of both bodies
  double seconds = 0;
  bool whole = false;  // the client got all of it
};

// Calls of the handler come from the thread that runs the server; it must not block.
using Handler = std::function<void(Request request, std::shared_ptr<Reply> reply)>;

// Listens from construction on.
class HttpServer {
 public:
  // Throws Error(BadInput) where the address cannot be listened at.
  HttpServer(const HttpOptions& options, Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  // Until `stop`.
  void run();
  // From any thread: has it called soon, from the server's.
  void post(std::function<void()> function);
  // From any thread: no new connections; those that wait for a request are closed, replies go on to their end, for at
  // most `grace` seconds.
  void stop(double grace = 5);

  struct State;  // of http_server.cpp

 private:
  std::unique_ptr<State> state_;
};

// The request that these bytes begin with, as the server understands it; nullopt: it is not whole. Throws
// Error(BadInput) for what the server refuses.
std::optional<Request> parse_request(std::string_view bytes, const HttpOptions& options);

// "Bad Request".
std::string_view reason_of(int status);

}  // namespace loadline::serve
