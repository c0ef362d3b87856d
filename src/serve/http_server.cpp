#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "serve/http.h"
#include "serve/http_connection.h"

namespace loadline::serve {

std::string_view Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string_view reason_of(int status) {
  return http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
}

std::optional<Request> parse_request(std::string_view bytes, const HttpOptions& options) {
  HttpParser parser;
  parser.body_limit(options.most_body.value);
  parser.header_limit(static_cast<std::uint32_t>(options.most_header.value));
  bool looked_at = false;
  while (!parser.is_done()) {
    error_code error;
    const std::size_t taken = parser.put(asio::buffer(bytes.data(), bytes.size()), error);
    if (error == http::error::need_more) error = {};
    if (error) {
      const auto refusal = http_refusal_of(error);
      throw bad_input(std::string(refusal ? refusal->why : "the client left"));
    }
    bytes.remove_prefix(std::min(taken, bytes.size()));
    if (parser.is_header_done() && !std::exchange(looked_at, true)) {
      if (const auto refusal = head_refusal_of(parser)) throw bad_input(std::string(refusal->why));
    } else if (taken == 0) {
      return std::nullopt;
    }
  }
  return request_of(parser.release());
}

Bytes most_memory(const HttpOptions& options) {
  constexpr Bytes kState(std::uint64_t{24} << 10);  // a connection's own, its parser's with the fields of a head
  constexpr Bytes kTls(std::uint64_t{96} << 10);    // OpenSSL's and Asio's, of a connection that is in use
  Bytes each = kHead + kState;
  if (!options.certificate.empty()) each += kTls;
  const Bytes large = large_head(options) * 2;  // while it grows there are both
  return each * options.most_connections + large * kMostLargeHeads + options.most_unsent_of_all;
}

// May outlive its connection's interest in it; the connection lives at least as long.
class HttpConnectionReply final : public Reply {
 public:
  explicit HttpConnectionReply(std::shared_ptr<HttpConnection> connection)
      : connection_(std::move(connection)),
        number_(connection_->number_),
        chunked_(connection_->chunked_),
        head_only_(connection_->head_only_),
        keep_alive_(connection_->keep_alive_) {}
  ~HttpConnectionReply() override {
    if (ended_ || connection_->is_going()) return;
    asio::post(connection_->context(), [c = connection_, n = number_] { c->abandoned(n); });
  }

  void send(int status, std::string_view type, std::string body) override {
    std::string text = head(status, type);
    text += status == 204 ? std::string("\r\n") : fmt::format("Content-Length: {}\r\n\r\n", body.size());
    if (!head_only_) text += body;
    tell_status(status);
    queue(std::move(text), true);
  }
  void begin(int status, std::string_view type) override {
    streams_ = true;
    if (!chunked_) keep_alive_ = false;  // the end of the connection ends the body
    std::string text = head(status, type);
    text += "Cache-Control: no-store\r\n";
    text += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
    tell_status(status);
    queue(std::move(text), false);
  }
  void write(std::string text) override {
    if (text.empty() || head_only_) return;
    queue(chunked_ ? HttpConnection::as_chunk(text) : std::move(text), false);
  }
  void end() override {
    queue(streams_ && chunked_ && !head_only_ ? std::string(HttpConnection::kLastChunk) : "", true);
  }
  void send_pieces(int status, std::string_view type, std::function<std::string()> next) override {
    begin(status, type);
    if (head_only_) return end();
    ended_ = true;
    asio::post(connection_->context(), [c = connection_, n = number_, f = std::move(next),
                                        keep = keep_alive_]() mutable { c->send_pieces(n, std::move(f), keep); });
  }
  void set_header(std::string name, std::string value) override { headers_ += fmt::format("{}: {}\r\n", name, value); }
  void set_endless() override {
    asio::post(connection_->context(), [c = connection_, n = number_] { c->set_endless(n); });
  }
  void when_gone(std::function<void()> callback) override {
    asio::post(connection_->context(),
               [c = connection_, n = number_, f = std::move(callback)]() mutable { c->when_gone(n, std::move(f)); });
  }
  void after(double seconds, std::function<void()> callback) override {
    const auto timer = std::make_shared<asio::steady_timer>(connection_->context(), milliseconds(seconds));
    timer->async_wait([timer, f = std::move(callback)](error_code cancelled) {
      if (!cancelled) f();
    });
  }

 private:
  std::string head(int status, std::string_view type) const {
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nServer: loadline\r\n", status, reason_of(status));
    if (!type.empty()) text += fmt::format("Content-Type: {}\r\n", type);
    text += keep_alive_ ? "Connection: keep-alive\r\n" : "Connection: close\r\n";
    return text + headers_;
  }
  void tell_status(int status) {
    if (ended_) return;
    asio::post(connection_->context(), [c = connection_, n = number_, status] { c->set_status(n, status); });
  }
  void queue(std::string text, bool last) {
    if (ended_) return;
    ended_ = last;
    asio::post(connection_->context(), [c = connection_, n = number_, t = std::move(text), last,
                                        keep = keep_alive_]() mutable { c->send(n, std::move(t), last, keep); });
  }

  std::shared_ptr<HttpConnection> connection_;
  std::uint64_t number_;
  bool chunked_, head_only_, keep_alive_;
  bool streams_ = false, ended_ = false;
  std::string headers_;
};

std::shared_ptr<Reply> HttpConnection::make_reply() {
  return std::make_shared<HttpConnectionReply>(shared_from_this());
}

// After an error there may be another one at once, such as too many files that are open: it is tried again later.
void HttpServer::State::accept() {
  acceptor.async_accept([this](error_code error, Tcp::socket socket) {
    if (stopping) return;
    if (error) {
      constexpr double kPause = 0.05;  // s
      pause.expires_after(milliseconds(kPause));
      pause.async_wait([this](error_code cancelled) {
        if (!cancelled && !stopping) accept();
      });
      return;
    }
    if (connections.size() < options.most_connections) {
      std::make_shared<HttpConnection>(*this, std::move(socket))->start();
    }
    accept();
  });
}

void HttpServer::State::close_idle() {
  const std::set<HttpConnection*> all = connections;
  for (HttpConnection* connection : all) {
    if (connections.contains(connection) && connection->idle()) connection->close();
  }
}

void HttpServer::State::drop_slowest() {
  HttpConnection* slowest = nullptr;
  for (HttpConnection* one : connections) {
    if (one->unsent() == 0) continue;
    if (slowest == nullptr || one->last_read() < slowest->last_read()) slowest = one;
  }
  if (slowest != nullptr) slowest->close();
}

HttpServer::HttpServer(const HttpOptions& options, Handler handler)
    : state_(std::make_unique<State>(options, std::move(handler))) {
  error_code error;
  if (!options.certificate.empty()) state_->tls.emplace(tls_context(options));
  if (options.descriptor >= 0) {
    state_->acceptor.assign(Tcp::v4(), options.descriptor, error);
    if (!error) (void)state_->acceptor.local_endpoint(error);
    if (error) throw bad_input(fmt::format("the socket that was handed over cannot be used: {}", error.message()));
    state_->accept();
    return;
  }
  const auto address = asio::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  if (error) {
    throw bad_input(fmt::format("\"{}\" is no address to listen at", printable(options.host)),
                    "Give an IP address, such as 127.0.0.1 for this machine alone or 0.0.0.0 for all.");
  }
  const Tcp::endpoint endpoint(address, options.port);
  state_->acceptor.open(endpoint.protocol(), error);
  if (!error) state_->acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) state_->acceptor.bind(endpoint, error);
  if (!error) state_->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    throw bad_input(
        fmt::format("{} port {} cannot be listened at: {}", printable(options.host), options.port, error.message()));
  }
  state_->accept();
}

HttpServer::~HttpServer() { state_->going = true; }

std::uint16_t HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }

// What a call of somebody's throws, for want of memory, is that call's end and not the server's.
void HttpServer::run() {
  for (;;) {
    try {
      state_->context.run();
      return;
    } catch (const std::exception& error) {
      if (state_->options.trouble) state_->options.trouble(error.what());
    }
  }
}

void HttpServer::post(std::function<void()> function) { asio::post(state_->context, std::move(function)); }

void HttpServer::stop(double grace) {
  asio::post(state_->context, [state = state_.get(), grace] {
    if (std::exchange(state->stopping, true)) return;
    error_code ignored;
    state->acceptor.close(ignored);
    state->close_idle();
    state->grace.expires_after(milliseconds(grace));
    state->grace.async_wait([state](error_code cancelled) {
      if (!cancelled) state->context.stop();
    });
    if (state->connections.empty()) state->context.stop();
  });
}

}  // namespace loadline::serve
