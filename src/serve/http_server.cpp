#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "serve/http.h"

namespace loadline::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = asio::ip::tcp;
using boost::system::error_code;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// A connection's bytes, in the clear or through TLS: an AsyncReadStream and AsyncWriteStream of Asio's.
class Stream {
 public:
  using executor_type = Tcp::socket::executor_type;

  Stream(Tcp::socket socket, asio::ssl::context* context) : socket_(std::move(socket)) {
    if (context != nullptr) tls_.emplace(socket_, *context);
  }
  executor_type get_executor() { return socket_.get_executor(); }
  Tcp::socket& socket() { return socket_; }
  [[nodiscard]] bool is_open() const { return socket_.is_open(); }

  template <class Function>
  void greet(Function&& function) {
    if (!tls_) return function(error_code());
    tls_->async_handshake(asio::ssl::stream_base::server, std::forward<Function>(function));
  }
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return socket_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return socket_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  Tcp::socket socket_;
  std::optional<asio::ssl::stream<Tcp::socket&>> tls_;
};

// Throws Error(BadInput) naming the file.
asio::ssl::context tls_context(const HttpOptions& options) {
  asio::ssl::context context(asio::ssl::context::tls_server);
  error_code error;
  context.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                      asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  context.use_certificate_chain_file(options.certificate, error);
  if (error) {
    throw bad_input(fmt::format("{} is no certificate in PEM: {}", printable(options.certificate), error.message()));
  }
  context.use_private_key_file(options.key, asio::ssl::context::pem, error);
  if (error) {
    throw bad_input(fmt::format("{} is no key of that certificate: {}", printable(options.key), error.message()));
  }
  return context;
}

}  // namespace

std::string_view Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return {};
}

std::string_view reason_of(int status) {
  return http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
}

class Connection;

struct HttpServer::State {
  State(const HttpOptions& given, Handler handle) : options(given), handler(std::move(handle)) {}

  void accept();
  void close_idle();

  bool going = false;  // the context with it: nothing may be asked of it any more

  HttpOptions options;
  Handler handler;
  Bytes bodies;                       // promised to requests
  std::set<Connection*> connections;  // each keeps itself alive; outlives the context, whose work they are
  asio::io_context context{1};
  std::optional<asio::ssl::context> tls;
  Tcp::acceptor acceptor{context};
  asio::steady_timer grace{context};
  bool stopping = false;
};

// One client. Everything happens on the server's thread; a Reply posts to it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(HttpServer::State& server, Tcp::socket socket)
      : server_(server), stream_(std::move(socket), server.tls ? &*server.tls : nullptr), timer_(server.context) {
    server_.connections.insert(this);
  }
  ~Connection() {
    give_back();
    server_.connections.erase(this);
    if (server_.stopping && !server_.going && server_.connections.empty()) server_.context.stop();
  }

  void start() {
    error_code ignored;
    stream_.socket().set_option(Tcp::no_delay(true), ignored);
    const auto endpoint = stream_.socket().remote_endpoint(ignored);
    if (!ignored) client_ = endpoint.address().to_string();
    wait_at_most();
    stream_.greet([self = shared_from_this()](error_code error) { error ? self->close() : self->read_request(); });
  }
  [[nodiscard]] bool idle() const { return !answering_ || endless_; }
  void set_endless(std::uint64_t number) {
    if (number == number_) endless_ = true;
    if (endless_ && server_.stopping) close();
  }
  void set_status(std::uint64_t number, int status) {
    if (number == number_) exchange_.status = status;
  }
  void close() {
    error_code ignored;
    timer_.cancel();
    stream_.socket().shutdown(Tcp::socket::shutdown_both, ignored);
    stream_.socket().close(ignored);
    leave();
  }

  // What a Reply asks for; `number` says of which request.
  void send(std::uint64_t number, std::string text, bool last, bool keep) {
    if (number != number_ || !answering_ || !stream_.is_open()) return;
    if (unsent_ > server_.options.most_unsent.value) return close();  // the client does not read
    unsent_ += text.size();
    if (!text.empty()) out_.push_back(std::move(text));
    if (last) {
      last_queued_ = true;
      keep_alive_ = keep_alive_ && keep;
    }
    if (!writing_) out_.empty() ? finish() : write_next();
  }
  void when_gone(std::uint64_t number, std::function<void()> callback) {
    if (number != number_) return;
    if (!stream_.is_open()) return callback();
    if (!answering_ || last_queued_) return;
    gone_ = std::move(callback);
  }
  void abandoned(std::uint64_t number) {
    if (number == number_ && answering_ && !last_queued_) close();
  }
  [[nodiscard]] asio::io_context& context() const { return server_.context; }
  [[nodiscard]] bool is_going() const { return server_.going; }

 private:
  static constexpr double kDrainSeconds = 2;
  using Parser = http::request_parser<http::string_body>;

  void read_request() {
    if (server_.stopping) return close();
    parser_.emplace();
    parser_->body_limit(server_.options.most_body.value);
    parser_->header_limit(static_cast<std::uint32_t>(server_.options.most_header.value));
    wait_at_most();
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, std::size_t) { self->header_read(error); });
  }

  void header_read(error_code error) {
    if (error) return refuse(error);
    const auto& head = parser_->get();
    if (head.find(http::field::transfer_encoding) != head.end()) {
      if (head.find(http::field::content_length) != head.end()) {
        return refuse_with(400, "a request has either Content-Length or Transfer-Encoding");
      }
      if (!parser_->chunked()) return refuse_with(400, "of transfer encodings only chunked is taken");
    }
    // Room for the body, before any of it is taken.
    const std::uint64_t most = server_.options.most_body.value;
    const auto length = parser_->content_length();
    const Bytes wanted(length ? std::min<std::uint64_t>(*length, most) : parser_->chunked() ? most : 0);
    if ((server_.bodies + wanted) > server_.options.most_bodies && wanted.value > 0) {
      return refuse_with(503, "the server has no room for the body now");
    }
    promised_ = wanted;
    server_.bodies += wanted;
    if (beast::iequals(head[http::field::expect], "100-continue")) {
      static constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(kGoOn), [self = shared_from_this()](error_code failed, std::size_t) {
        if (failed) return self->close();
        self->read_body();
      });
      return;
    }
    read_body();
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse(error);
      self->handle();
    });
  }

  void handle() {
    timer_.cancel();
    auto message = parser_->release();
    Request request;
    request.method = std::string(message.method_string());
    const std::string_view target(message.target().data(), message.target().size());
    const std::size_t mark = std::min(target.find('?'), target.size());
    request.path = std::string(target.substr(0, mark));
    if (mark < target.size()) request.query = std::string(target.substr(mark + 1));
    for (const auto& field : message) {
      request.headers.emplace_back(lower({field.name_string().data(), field.name_string().size()}),
                                   std::string(field.value().data(), field.value().size()));
    }
    request.body = std::move(message.body());
    request.client = client_;
    exchange_ = {request.method, request.path, client_, 0, request.body.size(), 0, 0, false};
    server_.bodies -= promised_ - Bytes(std::min<std::uint64_t>(promised_.value, request.body.size()));
    promised_ = Bytes(std::min<std::uint64_t>(promised_.value, request.body.size()));
    begin_answer(message.keep_alive(), message.version() >= 11, request.method == "HEAD");
    server_.handler(std::move(request), make_reply());
    watch();
  }

  void begin_answer(bool keep_alive, bool chunked, bool head_only) {
    ++number_;
    answering_ = true;
    keep_alive_ = keep_alive;
    chunked_ = chunked;
    head_only_ = head_only;
    last_queued_ = false;
    endless_ = false;
    begun_ = std::chrono::steady_clock::now();
  }

  void end_answer(bool whole) {
    answering_ = false;
    give_back();
    if (!server_.options.log) return;
    exchange_.whole = whole;
    exchange_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    server_.options.log(exchange_);
  }
  void give_back() {
    server_.bodies -= promised_;
    promised_ = Bytes();
  }

  std::shared_ptr<Reply> make_reply();

  // While the answer is being made, only the end of the connection is of interest; a request sent meanwhile waits. Who
  // sends one ahead is not watched any more.
  void watch() {
    if (!answering_ || !stream_.is_open() || watching_ || buffer_.size() > 0) return;
    watching_ = true;
    stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code error, std::size_t count) {
      self->watching_ = false;
      if (error) return self->close();
      self->buffer_.commit(count);
      if (!self->answering_) self->read_request();
    });
  }

  void write_next() {
    if (out_.empty()) return;
    writing_ = true;
    wait_at_most();
    asio::async_write(stream_, asio::buffer(out_.front()),
                      [self = shared_from_this()](error_code error, std::size_t) { self->written(error); });
  }

  void written(error_code error) {
    writing_ = false;
    timer_.cancel();
    if (error) return close();
    unsent_ -= out_.front().size();
    exchange_.sent += out_.front().size();
    out_.pop_front();
    out_.empty() ? finish() : write_next();
  }

  // Everything that was queued is with the client.
  void finish() {
    if (!last_queued_) return;
    end_answer(true);
    gone_ = nullptr;
    if (drains_) return drain();
    if (!keep_alive_ || server_.stopping) return close();
    watching_ ? wait_at_most() : read_request();  // where a byte is waited for already, it begins with that
  }

  // Nothing comes or goes for too long: the connection is closed.
  void wait_at_most() {
    timer_.expires_after(milliseconds(server_.options.patience));
    timer_.async_wait([weak = weak_from_this()](error_code cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self) self->close();
    });
  }

  void refuse(error_code error) {
    if (error == http::error::body_limit) return refuse_with(413, "the body is larger than this server takes");
    if (error == http::error::header_limit) return refuse_with(431, "the header is larger than this server takes");
    // A client that left, or a timeout, gets no answer; what is no HTTP does.
    if (error.category() != http::make_error_code(http::error::bad_method).category() ||
        error == http::error::end_of_stream || error == http::error::partial_message) {
      return close();
    }
    refuse_with(400, "this is no HTTP request");
  }

  void refuse_with(int status, std::string_view why) {
    begin_answer(false, true, false);
    drains_ = true;
    make_reply()->send(
        status, "application/json",
        fmt::format(R"({{"error":{{"message":"{}","type":"invalid_request_error","param":null,"code":{}}}}})", why,
                    status));
  }

  // What a refused client is still sending is read and dropped for a while: closing at once would make its system
  // forget the answer before it was read.
  void drain() {
    error_code ignored;
    stream_.socket().shutdown(Tcp::socket::shutdown_send, ignored);
    buffer_.clear();
    timer_.expires_after(milliseconds(kDrainSeconds));
    timer_.async_wait([weak = weak_from_this()](error_code cancelled) {
      const auto self = weak.lock();
      if (!cancelled && self) self->close();
    });
    read_and_drop();
  }
  void read_and_drop() {
    stream_.socket().async_read_some(
        buffer_.prepare(16384),
        [self = shared_from_this()](error_code error, std::size_t) { error ? self->close() : self->read_and_drop(); });
  }

  void leave() {
    if (!answering_) return give_back();
    end_answer(false);
    if (!writing_) out_.clear();
    if (const auto gone = std::exchange(gone_, nullptr)) gone();
  }

  friend class ConnectionReply;

  HttpServer::State& server_;
  Stream stream_;
  asio::steady_timer timer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::uint64_t number_ = 0;  // of the request that is answered
  bool answering_ = false, watching_ = false, writing_ = false, last_queued_ = false;
  bool keep_alive_ = false, chunked_ = true, head_only_ = false;
  std::deque<std::string> out_;
  std::size_t unsent_ = 0;
  std::function<void()> gone_;
  std::string client_;
  Bytes promised_;  // of HttpOptions::most_bodies
  bool endless_ = false, drains_ = false;
  Exchange exchange_;
  std::chrono::steady_clock::time_point begun_;
};

// May outlive its connection's interest in it; the connection lives at least as long.
class ConnectionReply final : public Reply {
 public:
  explicit ConnectionReply(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)),
        number_(connection_->number_),
        chunked_(connection_->chunked_),
        head_only_(connection_->head_only_),
        keep_alive_(connection_->keep_alive_) {}
  ~ConnectionReply() override {
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
    queue(chunked_ ? fmt::format("{:x}\r\n{}\r\n", text.size(), text) : std::move(text), false);
  }
  void end() override { queue(streams_ && chunked_ && !head_only_ ? "0\r\n\r\n" : "", true); }
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

  std::shared_ptr<Connection> connection_;
  std::uint64_t number_;
  bool chunked_, head_only_, keep_alive_;
  bool streams_ = false, ended_ = false;
  std::string headers_;
};

std::shared_ptr<Reply> Connection::make_reply() { return std::make_shared<ConnectionReply>(shared_from_this()); }

void HttpServer::State::accept() {
  acceptor.async_accept([this](error_code error, Tcp::socket socket) {
    if (stopping) return;
    if (!error && connections.size() < options.most_connections) {
      std::make_shared<Connection>(*this, std::move(socket))->start();
    }
    accept();
  });
}

void HttpServer::State::close_idle() {
  const std::set<Connection*> all = connections;
  for (Connection* connection : all) {
    if (connections.contains(connection) && connection->idle()) connection->close();
  }
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

void HttpServer::run() { state_->context.run(); }

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
