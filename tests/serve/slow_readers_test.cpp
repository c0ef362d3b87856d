// An answer that is made while its client reads holds what it is made of until then: a client that reads too little of
// it is dropped, however often it reads.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "serve/http.h"

namespace loadline::serve {
namespace {

constexpr std::size_t kPiece = std::size_t{64} << 10;

// Reads all there is, and forgets it.
void be_client(std::uint16_t port) {
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  ASSERT_EQ(::write(client, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::array<char, kPiece> bytes{};
  while (::read(client, bytes.data(), bytes.size()) > 0) {
  }
  ::close(client);
}

struct Told {
  bool whole = false;      // the client got all of it
  std::size_t pieces = 0;  // that were made
  bool held = true;        // what they are made of
};

Told answer_in_pieces(HttpOptions options, std::size_t pieces) {
  Told told;
  const auto made_of = std::make_shared<int>();
  std::optional<HttpServer> server;
  options.port = 0;
  options.log = [&](const Exchange& exchange) {
    told.whole = exchange.whole;
    server->stop();
  };
  server.emplace(options, [&, weak = std::weak_ptr<int>(made_of)](const Request& /*request*/,
                                                                  const std::shared_ptr<Reply>& reply) {
    reply->send_pieces(200, "text/plain", [&told, pieces, held = weak.lock()] {
      return told.pieces == pieces ? std::string() : (++told.pieces, std::string(kPiece, 'a'));
    });
  });
  std::thread network([&] { server->run(); });
  be_client(server->port());
  network.join();
  told.held = made_of.use_count() > 1;
  return told;
}

TEST(SlowReaders, OfAnAnswerThatIsMadeMeanwhileAreDropped) {
  HttpOptions options;
  options.patience = 1;
  options.least_rate = Bytes(std::uint64_t{1} << 50);  // which nobody reads at
  constexpr std::size_t kForLong = 10'000'000;         // pieces, which nobody gets in so short a time
  const Told told = answer_in_pieces(options, kForLong);
  EXPECT_FALSE(told.whole);
  EXPECT_GT(told.pieces, 1U);
  EXPECT_LT(told.pieces, kForLong);
  EXPECT_FALSE(told.held);
}

TEST(SlowReaders, AreGivenTheirTimeFirst) {
  HttpOptions options;
  options.least_rate = Bytes(std::uint64_t{1} << 50);
  const Told told = answer_in_pieces(options, 100);
  EXPECT_TRUE(told.whole);
  EXPECT_EQ(told.pieces, 100U);
  EXPECT_FALSE(told.held);
}

TEST(SlowReaders, AreThoseThatReadLessThanTheLeastOnceTheirTimeIsOver) {
  HttpOptions options;
  options.patience = 60;
  options.least_rate = kKiB;
  EXPECT_FALSE(reads_too_slowly(options, 60, 0));
  EXPECT_TRUE(reads_too_slowly(options, 61, 61 * 1024 - 1));
  EXPECT_FALSE(reads_too_slowly(options, 61, 61 * 1024));
  EXPECT_FALSE(reads_too_slowly(options, 1000, 1000 * 1024));
  EXPECT_TRUE(reads_too_slowly(options, 1000, 61 * 1024));
}

}  // namespace
}  // namespace loadline::serve
