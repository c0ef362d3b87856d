// What connections take is what their row of the plan says: with an operator new that counts, OpenSSL's memory too. The
// clients are a process of their own, whose memory is not counted.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "serve/http.h"
#include "support/allocations.h"
#include "support/test_data.h"

namespace loadline::serve {
namespace {

// ---- OpenSSL's memory by operator new, with its size before it ----

constexpr std::size_t kSize = alignof(std::max_align_t);

void* openssl_take(std::size_t size, const char* /*file*/, int /*line*/) {
  if (size == 0) return nullptr;
  char* const memory = static_cast<char*>(::operator new(size + kSize));
  std::memcpy(memory, &size, sizeof(size));
  return memory + kSize;
}
void openssl_give_back(void* memory, const char* /*file*/, int /*line*/) {
  if (memory != nullptr) ::operator delete(static_cast<char*>(memory) - kSize);
}
void* openssl_change(void* memory, std::size_t size, const char* file, int line) {
  void* const out = openssl_take(size, file, line);
  if (memory != nullptr && out != nullptr) {
    std::size_t before = 0;
    std::memcpy(&before, static_cast<char*>(memory) - kSize, sizeof(before));
    std::memcpy(out, memory, std::min(before, size));
  }
  openssl_give_back(memory, file, line);
  return out;
}
const bool kCounts = ::CRYPTO_set_mem_functions(openssl_take, openssl_change, openssl_give_back) == 1;

// ---- clients ----

constexpr std::uint32_t kClients = 64;

// A head of as many fields as are taken, and as many bytes.
std::string largest_request() {
  std::string head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n";
  for (int i = 0; i < 96; ++i) head += "x-" + std::to_string(100 + i) + ": " + std::string(72, 'a') + "\r\n";
  return head + "\r\n";
}

int connect_to(std::uint16_t port) {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) ::_exit(1);
  return descriptor;
}

// Once all heads were read, which the server says, it says so, and sends the bodies when it is told to.
[[noreturn]] void be_clients(std::uint16_t port, bool tls, int told, int tells) {
  ::SSL_CTX* const context = tls ? ::SSL_CTX_new(::TLS_client_method()) : nullptr;
  std::vector<int> sockets;
  std::vector<::SSL*> streams;
  const auto write_all = [&](const std::string& text) {
    for (std::size_t i = 0; i < sockets.size(); ++i) {
      const auto size = static_cast<int>(text.size());
      const auto written =
          tls ? ::SSL_write(streams[i], text.data(), size) : ::write(sockets[i], text.data(), text.size());
      if (written != size) ::_exit(2);
    }
  };
  char byte = 0;
  for (std::uint32_t i = 0; i < kClients; ++i) {
    sockets.push_back(connect_to(port));
    if (!tls) continue;
    streams.push_back(::SSL_new(context));
    ::SSL_set_fd(streams.back(), sockets.back());
    if (::SSL_connect(streams.back()) != 1) ::_exit(3);
  }
  write_all(largest_request());
  constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    for (std::size_t had = 0; had < kGoOn.size(); ++had) {
      if ((tls ? ::SSL_read(streams[i], &byte, 1) : ::read(sockets[i], &byte, 1)) != 1) ::_exit(6);
    }
  }
  if (::write(tells, &byte, 1) != 1 || ::read(told, &byte, 1) != 1) ::_exit(4);
  write_all("1234567890");
  ::_exit(::read(told, &byte, 1) == 0 ? 0 : 5);
}

// The most that they took, of which each was answered for a while and had its largest head.
Bytes taken_by_clients(HttpOptions options) {
  std::array<int, 2> to_clients{}, from_clients{};
  EXPECT_EQ(::pipe(to_clients.data()), 0);
  EXPECT_EQ(::pipe(from_clients.data()), 0);
  options.port = 0;
  options.most_connections = kClients;
  std::vector<std::shared_ptr<Reply>> replies;
  replies.reserve(kClients);
  HttpServer* running = nullptr;
  HttpServer server(options, [&](Request request, std::shared_ptr<Reply> reply) {
    EXPECT_EQ(request.body, "1234567890");
    replies.push_back(std::move(reply));
    if (replies.size() < kClients) return;
    for (const auto& one : replies) one->send(200, "text/plain", "done");
    replies.clear();  // they keep their connections
    running->stop();
  });
  running = &server;
  const pid_t clients = ::fork();
  if (clients == 0) {
    ::close(to_clients[1]);
    be_clients(server.port(), !options.certificate.empty(), to_clients[0], from_clients[1]);
  }
  const test::AllocationWatch watch;
  std::thread network([&] { server.run(); });
  char byte = 0;
  EXPECT_EQ(::read(from_clients[0], &byte, 1), 1);
  EXPECT_EQ(::write(to_clients[1], &byte, 1), 1);
  network.join();
  const Bytes peak = watch.peak();
  ::close(to_clients[1]);
  int status = 0;
  EXPECT_EQ(::waitpid(clients, &status, 0), clients);
  EXPECT_EQ(status, 0);
  for (const int descriptor : {to_clients[0], from_clients[0], from_clients[1]}) ::close(descriptor);
  return peak;
}

Bytes row_of(HttpOptions options) {
  options.most_connections = 0;
  const Bytes others = most_memory(options);
  options.most_connections = kClients;
  return most_memory(options) - others;
}

TEST(Connections, TakeNoMoreThanTheirRow) {
  const HttpOptions options;
  const Bytes taken = taken_by_clients(options);
  EXPECT_LE(taken.value, row_of(options).value);
  RecordProperty("each", std::to_string(taken.value / kClients));
  EXPECT_GT(taken.value, row_of(options).value / 2) << "nothing here is large enough to show anything";
}

TEST(Connections, TakeNoMoreThanTheirRowThroughTls) {
  ASSERT_TRUE(kCounts);
  HttpOptions options;
  const std::string data = (test::source_dir() / "tests/serve/data").string();
  options.certificate = data + "/certificate.pem";
  options.key = data + "/key.pem";
  const Bytes taken = taken_by_clients(options);
  EXPECT_LE(taken.value, row_of(options).value);
  RecordProperty("each", std::to_string(taken.value / kClients));
  EXPECT_GT(taken.value, row_of(options).value / 2) << "nothing here is large enough to show anything";
}

}  // namespace
}  // namespace loadline::serve
