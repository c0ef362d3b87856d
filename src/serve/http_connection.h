// HttpServer::State and HttpConnection: one client, from the first byte of its first request to the last of its last
// answer. Of http_server.cpp alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <fmt/format.h>

#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <string_view>

#include "serve/http_parse.h"
#include "serve/http_stream.h"

namespace loadline::serve {

namespace beast = boost::beast;

inline std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

// Of a request's head, and of those that have more of it.
inline constexpr Bytes kHead{std::uint64_t{8} << 10};
inline constexpr std::uint32_t kMostLargeHeads = 32;
// The limit on the head is met before that on what it is read into.
inline Bytes large_head(const HttpOptions& options) { return options.most_header + kHead; }

class HttpConnection;

struct HttpServer::State {
  State(const HttpOptions& given, Handler handle) : options(given), handler(std::move(handle)) {}

  void accept();
  void close_idle();
  // Of those for whom there is something, the one that has read nothing for the longest time.
  void drop_slowest();

  bool going = false;  // the context with it: nothing may be asked of it any more

  HttpOptions options;
  Handler handler;
  Bytes bodies;                           // promised to requests
  Bytes unsent;                           // of all answers
  std::uint32_t large_heads = 0;          // connections with room for a large head
  std::set<HttpConnection*> connections;  // each keeps itself alive; outlives the context, whose work they are
  asio::io_context context{1};
  std::optional<asio::ssl::context> tls;
  Tcp::acceptor acceptor{context};
  asio::steady_timer grace{context}, pause{context};
  bool stopping = false;
};

// Everything happens on the server's thread; a Reply posts to it.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpServer::State& server, Tcp::socket socket)
      : server_(server), stream_(std::move(socket), server.tls ? &*server.tls : nullptr), timer_(server.context) {
    server_.connections.insert(this);
  }
  ~HttpConnection() {
    give_back();
    drop_unsent();
    if (large_head_) --server_.large_heads;
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
  [[nodiscard]] std::size_t unsent() const { return unsent_; }
  // When it had read what there was, or a part of it.
  [[nodiscard]] std::chrono::steady_clock::time_point last_read() const { return last_read_; }
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
    if (unsent_ == 0) last_read_ = std::chrono::steady_clock::now();
    unsent_ += text.size();
    server_.unsent += Bytes(text.size());
    if (!text.empty()) out_.push_back(std::move(text));
    if (last) {
      last_queued_ = true;
      keep_alive_ = keep_alive_ && keep;
    }
    if (!writing_) out_.empty() ? finish() : write_next();
    if (server_.unsent > server_.options.most_unsent_of_all) server_.drop_slowest();
  }
  // One more whenever those before are with the client's system.
  void send_pieces(std::uint64_t number, std::function<std::string()> next, bool keep) {
    if (number != number_ || !answering_ || !stream_.is_open()) return;
    pieces_ = std::move(next);
    pieces_begun_ = std::chrono::steady_clock::now();
    keep_alive_ = keep_alive_ && keep;
    if (!writing_) send_next_piece();
  }
  static std::string as_chunk(std::string_view text) { return fmt::format("{:x}\r\n{}\r\n", text.size(), text); }
  static constexpr std::string_view kLastChunk = "0\r\n\r\n";
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

  void read_request() {
    if (server_.stopping) return close();
    parser_.emplace();
    parser_->body_limit(server_.options.most_body.value);
    parser_->header_limit(static_cast<std::uint32_t>(server_.options.most_header.value));
    wait_at_most();
    if (large_head_ && buffer_.size() == 0) {
      large_head_ = false;
      --server_.large_heads;
      buffer_ = beast::flat_buffer(kHead.value);
    }
    read_header();
  }

  void read_header() {
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, std::size_t) { self->header_read(error); });
  }

  void header_read(error_code error) {
    if (error == http::error::buffer_overflow && !large_head_) return read_large_header();
    if (error) return refuse(error);
    if (const auto refusal = head_refusal_of(*parser_)) return refuse_with(refusal->status, refusal->why);
    // Room for the body, before any of it is taken.
    const std::uint64_t most = server_.options.most_body.value;
    const auto length = parser_->content_length();
    const Bytes wanted(length ? std::min<std::uint64_t>(*length, most) : parser_->chunked() ? most : 0);
    if ((server_.bodies + wanted) > server_.options.most_bodies && wanted.value > 0) {
      return refuse_with(503, "the server has no room for the body now");
    }
    promised_ = wanted;
    server_.bodies += wanted;
    parser_->get().body().reserve(wanted.value);  // so that it is not there twice while it grows
    if (beast::iequals(parser_->get()[http::field::expect], "100-continue")) {
      static constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(kGoOn), [self = shared_from_this()](error_code failed, std::size_t) {
        if (failed) return self->close();
        self->read_body();
      });
      return;
    }
    read_body();
  }

  // Few requests have such a head: some browsers' with their cookies.
  void read_large_header() {
    if (server_.large_heads == kMostLargeHeads) return refuse_with(503, "the server has no room for the header now");
    large_head_ = true;
    ++server_.large_heads;
    buffer_.max_size(large_head(server_.options).value);
    read_header();
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse(error);
      self->handle();
    });
  }

  void handle() {
    timer_.cancel();
    const bool keep_alive = parser_->keep_alive();
    const bool chunked = parser_->get().version() >= 11;
    Request request = request_of(parser_->release());
    parser_.reset();
    request.client = client_;
    exchange_ = {request.method, request.path, client_, 0, request.body.size(), 0, 0, false};
    server_.bodies -= promised_ - Bytes(std::min<std::uint64_t>(promised_.value, request.body.size()));
    promised_ = Bytes(std::min<std::uint64_t>(promised_.value, request.body.size()));
    begin_answer(keep_alive, chunked, request.method == "HEAD");
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
  void drop_unsent() {
    server_.unsent -= Bytes(unsent_);
    unsent_ = 0;
  }

  std::shared_ptr<Reply> make_reply();

  // While the answer is being made, only the end of the connection is of interest; a request sent meanwhile waits. Who
  // sends one ahead is not watched any more.
  void watch() {
    if (!answering_ || !stream_.is_open() || watching_ || buffer_.size() > 0) return;
    watching_ = true;
    stream_.async_read_some(buffer_.prepare(kPiece), [self = shared_from_this()](error_code error, std::size_t count) {
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

  void send_next_piece() {
    // Though each piece came through in time: what the others are made of is held meanwhile.
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - pieces_begun_).count();
    if (reads_too_slowly(server_.options, seconds, exchange_.sent)) return close();
    std::string piece;
    try {
      piece = pieces_();
    } catch (...) {  // what came of the answer so far is no answer
      close();
      throw;
    }
    if (!piece.empty()) return send(number_, chunked_ ? as_chunk(piece) : std::move(piece), false, true);
    pieces_ = nullptr;
    send(number_, chunked_ ? std::string(kLastChunk) : std::string(), true, true);
  }

  void written(error_code error) {
    writing_ = false;
    timer_.cancel();
    if (error || !stream_.is_open()) return close();
    const std::size_t size = out_.front().size();
    unsent_ -= size;
    server_.unsent -= Bytes(size);
    exchange_.sent += size;
    last_read_ = std::chrono::steady_clock::now();
    out_.pop_front();
    if (!out_.empty()) return write_next();
    pieces_ ? send_next_piece() : finish();
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
    const auto refusal = http_refusal_of(error);
    if (!refusal) return close();
    const HttpOptions& options = server_.options;
    const auto more = [&](Bytes most) { return fmt::format("{} ({})", refusal->why, to_string(most)); };
    if (refusal->status == 413) return refuse_with(413, more(options.most_body));
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return refuse_with(refusal->status, more(options.most_header));
    }
    refuse_with(refusal->status, refusal->why);
  }

  void refuse_with(int status, std::string_view why) {
    exchange_ = {"", "", client_, 0, 0, 0, 0, false};
    if (parser_) {  // as far as it came
      const auto& head = parser_->get();
      const std::string_view target(head.target().data(), head.target().size());
      exchange_.method = std::string(head.method_string());
      exchange_.path = std::string(target.substr(0, target.find('?')));
    }
    begin_answer(false, true, false);
    drains_ = true;
    const auto reply = make_reply();
    reply->set_header("Access-Control-Allow-Origin", "*");  // so that pages are told why
    if (status == 503) reply->set_header("Retry-After", "1");
    reply->send(status, "application/json",
                server_.options.refusal ? server_.options.refusal(exchange_.path, status, why) : std::string());
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
        buffer_.prepare(kPiece),
        [self = shared_from_this()](error_code error, std::size_t) { error ? self->close() : self->read_and_drop(); });
  }

  void leave() {
    pieces_ = nullptr;
    if (!writing_) {
      out_.clear();
      drop_unsent();
    }
    if (!answering_) return give_back();
    end_answer(false);
    if (const auto gone = std::exchange(gone_, nullptr)) gone();
  }

  friend class HttpConnectionReply;

  static constexpr std::size_t kPiece = 4096;

  HttpServer::State& server_;
  HttpStream stream_;
  asio::steady_timer timer_;
  beast::flat_buffer buffer_{kHead.value};
  std::optional<HttpParser> parser_;
  std::uint64_t number_ = 0;  // of the request that is answered
  bool answering_ = false, watching_ = false, writing_ = false, last_queued_ = false;
  bool keep_alive_ = false, chunked_ = true, head_only_ = false, large_head_ = false;
  std::deque<std::string> out_;
  std::size_t unsent_ = 0;
  std::function<void()> gone_;
  std::function<std::string()> pieces_;  // what is left of the answer, where it is made meanwhile
  std::string client_;
  Bytes promised_;  // of HttpOptions::most_bodies
  bool endless_ = false, drains_ = false;
  Exchange exchange_;
  std::chrono::steady_clock::time_point begun_, last_read_, pieces_begun_;
};

}  // namespace loadline::serve
