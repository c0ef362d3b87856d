#include "serve/http_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/setting.h"
#include "base/text.h"

namespace loadline::serve {
namespace {

constexpr std::size_t kMostAnswer = std::size_t{64} << 20;  // bytes

Error not_http() {
  return {ErrorCode::DeviceFailure, "what answered speaks no HTTP", "Name the address that `loadline serve` printed."};
}

std::optional<std::size_t> number(std::string_view text, int base) {
  std::size_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (problem != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string unchunked(std::string_view bytes) {
  std::string out;
  for (;;) {
    const std::size_t end = bytes.find("\r\n");
    if (end == std::string_view::npos) throw not_http();
    const auto size = number(bytes.substr(0, std::min(bytes.find(';'), end)), 16);
    if (!size || *size > kMostAnswer) throw not_http();
    bytes.remove_prefix(end + 2);
    if (*size == 0) return out;
    if (bytes.size() < *size + 2) throw not_http();
    out += bytes.substr(0, *size);
    bytes.remove_prefix(*size + 2);
  }
}

struct FreeTls {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { ::SSL_free(ssl); }
};

// A connection whose other end has shown who it is.
class ClientTls {
 public:
  // Throws Error(BadInput) naming the file.
  ClientTls(const Address& address, const std::string& certificate, int socket)
      : context_(::SSL_CTX_new(::TLS_client_method())) {
    if (context_ == nullptr) throw std::bad_alloc();
    ::SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    const bool trusted = certificate.empty() ? ::SSL_CTX_set_default_verify_paths(context_.get()) == 1
                                             : ::SSL_CTX_load_verify_file(context_.get(), certificate.c_str()) == 1;
    if (!trusted) throw bad_input(fmt::format("{} has no certificate in PEM", printable(certificate, 4096)));
    ssl_.reset(::SSL_new(context_.get()));
    if (ssl_ == nullptr) throw std::bad_alloc();
    X509_VERIFY_PARAM* wanted = ::SSL_get0_param(ssl_.get());
    if (::X509_VERIFY_PARAM_set1_ip_asc(wanted, address.host.c_str()) != 1) {  // it is no number
      ::X509_VERIFY_PARAM_set1_host(wanted, address.host.c_str(), address.host.size());
      ::SSL_set_tlsext_host_name(ssl_.get(), address.host.c_str());
    }
    ::SSL_set_fd(ssl_.get(), socket);
    ::SSL_set_connect_state(ssl_.get());
  }

  // Each does what it can: bytes, or 0 at the end, or what is to be waited for (POLLIN, POLLOUT), negative.
  [[nodiscard]] ssize_t send(std::string_view bytes) {
    ::ERR_clear_error();
    std::size_t sent = 0;
    const int result = ::SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent);
    greeted_ = greeted_ || result == 1;
    return result == 1 ? static_cast<ssize_t>(sent) : waits_for(result);
  }
  [[nodiscard]] ssize_t receive(std::string& out) {
    ::ERR_clear_error();
    std::size_t got = 0;
    const int result = ::SSL_read_ex(ssl_.get(), out.data(), out.size(), &got);
    return result == 1 ? static_cast<ssize_t>(got) : waits_for(result);
  }

 private:
  [[nodiscard]] ssize_t waits_for(int result) const {
    const int problem = ::SSL_get_error(ssl_.get(), result);
    if (problem == SSL_ERROR_WANT_READ) return -POLLIN;
    if (problem == SSL_ERROR_WANT_WRITE) return -POLLOUT;
    if (const long why = ::SSL_get_verify_result(ssl_.get()); why != X509_V_OK) {
      throw bad_input(fmt::format("the server's certificate is not trusted: {}", ::X509_verify_cert_error_string(why)),
                      "Name the certificate that it should be.", Setting::Certificate);
    }
    if (!greeted_) {
      throw Error(ErrorCode::DeviceFailure, "what answered speaks no TLS", "Is its address http://?");
    }
    return 0;
  }

  std::unique_ptr<SSL_CTX, FreeTls> context_;
  std::unique_ptr<SSL, FreeTls> ssl_;
  bool greeted_ = false;  // something was sent, which takes a handshake
};

class ClientConnection {
 public:
  ClientConnection(const Address& address, const std::string& certificate, double until)
      : address_(address), until_(until) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(address.host.c_str(), address.port.c_str(), &hints, &found) != 0) {
      throw bad_input(fmt::format("there is no address {}", printable(address.host)));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(found, ::freeaddrinfo);
    for (const addrinfo* one = found; one != nullptr && socket_ < 0; one = one->ai_next) open(*one);
    if (socket_ < 0) throw nobody();
    if (!address.tls) return;
    try {
      tls_.emplace(address, certificate, socket_);
    } catch (...) {
      ::close(socket_);
      throw;
    }
  }
  ~ClientConnection() {
    if (socket_ >= 0) ::close(socket_);
  }
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty() && tls_) {
      const ssize_t sent = tls_->send(bytes);
      if (sent == 0) return;
      sent > 0 ? bytes.remove_prefix(static_cast<std::size_t>(sent)) : wait(static_cast<short>(-sent));
    }
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait(POLLOUT);
      } else if (errno != EINTR) {
        return;  // it may have answered before it closed
      }
    }
  }

  std::string receive_all() {
    std::string out;
    std::string piece(std::size_t{1} << 16, '\0');
    while (tls_) {
      const ssize_t got = tls_->receive(piece);
      if (got == 0) return out;
      got > 0 ? void(out.append(piece, 0, static_cast<std::size_t>(got))) : wait(static_cast<short>(-got));
      if (out.size() > kMostAnswer) throw not_http();
    }
    for (;;) {
      const ssize_t got = ::recv(socket_, piece.data(), piece.size(), 0);
      if (got == 0) return out;
      if (got > 0) {
        out.append(piece, 0, static_cast<std::size_t>(got));
        if (out.size() > kMostAnswer) throw not_http();
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait(POLLIN);
      } else if (errno != EINTR) {
        return out;
      }
    }
  }

 private:
  void open(const addrinfo& where) {
    socket_ = ::socket(where.ai_family, where.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, where.ai_protocol);
    if (socket_ < 0) return;
    if (::connect(socket_, where.ai_addr, where.ai_addrlen) == 0) return;
    if (errno == EINPROGRESS) {
      wait(POLLOUT);
      int problem = 0;
      socklen_t size = sizeof problem;
      if (::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &problem, &size) == 0 && problem == 0) return;
    }
    ::close(std::exchange(socket_, -1));
  }
  void wait(short events) const {
    pollfd one{socket_, events, 0};
    const double left = until_ - steady_seconds();
    if (left <= 0 || ::poll(&one, 1, static_cast<int>(std::min(left, 3600.0) * 1000) + 1) == 0) throw nobody();
  }
  [[nodiscard]] Error nobody() const {
    return {ErrorCode::DeviceFailure,
            fmt::format("no server answers at {}:{}", printable(address_.host), printable(address_.port)),
            "Is `loadline serve` running there?"};
  }

  const Address& address_;
  double until_;
  int socket_ = -1;
  std::optional<ClientTls> tls_;
};

}  // namespace

Address parse_address(std::string_view text) {
  Address address;
  const std::string given(text);
  address.tls = text.starts_with("https://");
  if (address.tls || text.starts_with("http://")) text.remove_prefix(text.find("//") + 2);
  text = text.substr(0, text.find('/'));
  if (text.empty()) return address;
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) throw bad_input(fmt::format("\"{}\" is no address", printable(given)));
    address.host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (port.starts_with(':')) port.remove_prefix(1);
  } else if (const std::size_t colon = text.find(':'); colon != std::string_view::npos) {
    address.host = text.substr(0, colon);
    port = text.substr(colon + 1);
  } else if (number(text, 10)) {
    port = text;
  } else {
    address.host = text;
  }
  if (!port.empty()) address.port = port;
  const auto known = number(address.port, 10);
  const bool plain = std::ranges::all_of(address.host, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '-' || c == ':' || c == '_';
  });
  if (!known || *known == 0 || *known > 65535 || address.host.empty() || !plain) {
    throw bad_input(fmt::format("\"{}\" is no address", printable(given)), "Write it as http://127.0.0.1:8080.");
  }
  return address;
}

Answer parse_answer(std::string_view bytes) {
  const std::size_t head = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.") || bytes.size() < 12 || head == std::string_view::npos) throw not_http();
  const auto status = number(bytes.substr(9, 3), 10);
  if (!status) throw not_http();
  Answer answer;
  answer.status = static_cast<int>(*status);
  const std::string headers = lower(bytes.substr(0, head + 2));
  const std::string_view body = bytes.substr(head + 4);
  const auto header = [&](std::string_view name) -> std::string_view {
    const std::size_t at = headers.find(name);
    if (at == std::string::npos) return {};
    std::string_view value = std::string_view(headers).substr(at + name.size());
    value = value.substr(0, value.find("\r\n"));
    while (value.starts_with(' ')) value.remove_prefix(1);
    return value;
  };
  if (header("\r\ntransfer-encoding:") == "chunked") {
    answer.body = unchunked(body);
    return answer;
  }
  const std::string_view length = header("\r\ncontent-length:");
  if (!length.empty()) {
    const auto size = number(length, 10);
    if (!size || body.size() < *size) throw not_http();
    answer.body = body.substr(0, *size);
  } else {
    answer.body = body;
  }
  return answer;
}

Answer ask(const Address& address, std::string_view method, std::string_view path, std::string_view body,
           const AskOptions& options) {
  const std::string& key = options.key;
  for (const char c : key) {
    if (static_cast<unsigned char>(c) < 0x20) throw bad_input("a key has no control characters");
  }
  ClientConnection connection(address, options.certificate, steady_seconds() + options.patience);
  const bool six = address.host.find(':') != std::string::npos;
  connection.send(
      fmt::format("{} {} HTTP/1.1\r\nHost: {}{}{}:{}\r\nConnection: close\r\n{}Content-Type: application/json\r\n"
                  "Content-Length: {}\r\n\r\n{}",
                  method, path, six ? "[" : "", address.host, six ? "]" : "", address.port,
                  key.empty() ? std::string() : fmt::format("Authorization: Bearer {}\r\n", key), body.size(), body));
  return parse_answer(connection.receive_all());
}

}  // namespace loadline::serve
