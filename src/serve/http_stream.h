// A connection's bytes, in the clear or through TLS. Of http_server.cpp alone: Boost's headers take long to compile.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "serve/http.h"

namespace loadline::serve {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using boost::system::error_code;

// An AsyncReadStream and AsyncWriteStream of Asio's.
class HttpStream {
 public:
  using executor_type = Tcp::socket::executor_type;

  HttpStream(Tcp::socket socket, asio::ssl::context* context) : socket_(std::move(socket)) {
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
inline asio::ssl::context tls_context(const HttpOptions& options) {
  asio::ssl::context context(asio::ssl::context::tls_server);
  error_code error;
  context.set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                      asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  ::SSL_CTX_set_mode(context.native_handle(), SSL_MODE_RELEASE_BUFFERS);  // of connections that wait
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

}  // namespace loadline::serve
