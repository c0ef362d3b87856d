// Log-probabilities that are kept until their answer is sent take what they were admitted with, and the answer is made
// of them a piece at a time.
#include "serve/token_reports.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "serve/call.h"
#include "serve/http.h"
#include "serve/long_answer.h"
#include "serve/request_memory.h"
#include "support/allocations.h"
#include "tokenizer/synthetic.h"

namespace loadline::serve {
namespace {

// Takes the pieces of an answer one by one, as a client does that has read those before.
class Pulled final : public Reply {
 public:
  void send(int /*status*/, std::string_view /*type*/, std::string text) override { whole = std::move(text); }
  void send_pieces(int /*status*/, std::string_view /*type*/, std::function<std::string()> next) override {
    pieces = std::move(next);
  }
  void begin(int /*status*/, std::string_view /*type*/) override {}
  void write(std::string /*text*/) override {}
  void end() override {}
  void set_header(std::string /*name*/, std::string /*value*/) override {}
  void when_gone(std::function<void()> /*callback*/) override {}
  void after(double /*seconds*/, std::function<void()> /*callback*/) override {}
  void set_endless() override {}

  [[nodiscard]] std::string all() const {
    if (!pieces) return whole;
    std::string out;
    for (std::string one = pieces(); !one.empty(); one = pieces()) out += one;
    return out;
  }
  std::string whole;
  std::function<std::string()> pieces;
};

std::vector<TokenReport> some_reports(std::size_t tokens, std::size_t others) {
  std::vector<TokenReport> out(tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    out[i] = {static_cast<Token>(i % 256), -0.125 * static_cast<double>(i % 7), {}};
    for (std::size_t j = 0; j < others; ++j) out[i].top.push_back({static_cast<Token>((i + j) % 256), -0.5});
  }
  return out;
}

struct Model {
  Model()
      : metadata(test::varied_byte_pair_metadata("gpt-2")), tokenizer(tokenizer::Tokenizer::from_metadata(metadata)) {
    served->chat =
        std::make_unique<const talk::ChatModel>(metadata, *tokenizer, chat::template_of(metadata, "chatml"), "test");
  }
  gguf::Metadata metadata;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<Served> served = std::make_shared<Served>();
};

TEST(TokenReports, AreWhatWasAdded) {
  TokenReports kept(std::make_shared<std::atomic<std::uint64_t>>(0), {});
  const std::vector<TokenReport> reports = some_reports(20, 3);
  kept.add(reports);
  kept.add(some_reports(2, 0));  // the sampler may leave fewer
  ASSERT_EQ(kept.size(), 22U);
  for (std::size_t i = 0; i < 20; ++i) {
    const TokenReport one = kept.at(i);
    EXPECT_EQ(one.token, reports[i].token);
    EXPECT_EQ(one.log_probability, reports[i].log_probability);
    ASSERT_EQ(one.top.size(), 3U);
    EXPECT_EQ(one.top[2].token, reports[i].top[2].token);
  }
  EXPECT_EQ(kept.at(21).token, 1);
  EXPECT_TRUE(kept.at(21).top.empty());
}

TEST(TokenReports, TakeNoMoreThanTheyAreAdmittedWith) {
  for (const auto& [tokens, others] : {std::pair{1U, 0U}, {5000U, 0U}, {2000U, 20U}, {50U, 1000U}}) {
    const std::vector<TokenReport> reports = some_reports(tokens, others);
    const test::AllocationWatch watch;
    TokenReports kept(std::make_shared<std::atomic<std::uint64_t>>(0), {});
    for (const TokenReport& one : reports) kept.add({&one, 1});
    EXPECT_LE(watch.peak().value, TokenReports::memory_bytes(tokens, others).value) << tokens << " " << others;
  }
}

TEST(TokenReports, GiveBackWhatTheyDoNotNeed) {
  const auto all = std::make_shared<std::atomic<std::uint64_t>>(0);
  {
    TokenReports kept(all, TokenReports::memory_bytes(1000, 20));
    EXPECT_EQ(*all, TokenReports::memory_bytes(1000, 20).value);
    kept.add(some_reports(10, 20));
    kept.end();
    EXPECT_EQ(*all, TokenReports::memory_bytes(10, 20).value);
  }
  EXPECT_EQ(*all, 0U);
}

// Of a context of no tokens, as long as there is no model: each takes what the shortest takes.
TEST(TokenReports, AreAdmittedWhileThereIsRoomForAll) {
  Model model;
  Generation one;
  one.log_probabilities.emplace();
  std::vector<Generation> wanted(most_reports(0).value / TokenReports::memory_bytes(0, 0).value, one);
  auto kept = keep_reports(*model.served, wanted, false);
  EXPECT_THROW((void)keep_reports(*model.served, {&one, 1}, false), Busy);
  model.served->last_reports = std::move(kept.back());  // which nobody has to be told
  kept.pop_back();
  EXPECT_NE(keep_reports(*model.served, {&one, 1}, false)[0], nullptr);
  EXPECT_EQ(model.served->last_reports, nullptr);
  kept.clear();
  EXPECT_EQ(*model.served->reports, 0U);
  wanted.push_back(one);
  EXPECT_THROW((void)keep_reports(*model.served, wanted, false), TooLarge) << "it would be busy for ever";
  EXPECT_EQ(keep_reports(*model.served, wanted, true)[0], nullptr) << "a stream keeps none";
  one.log_probabilities.reset();
  EXPECT_EQ(keep_reports(*model.served, {&one, 1}, false)[0], nullptr);
}

TEST(LongAnswer, IsTheJsonThatItsListsAreMadeOf) {
  for (const std::size_t count : {0U, 1U, 3U, 5000U}) {
    LongAnswer answer;
    const auto element = [](std::size_t index) -> Json { return {{"a", index}, {"b", "\"[,"}}; };
    const Json first = answer.list(count, element);
    const Json second = answer.list(2, [](std::size_t index) -> Json { return index; });
    Pulled reply;
    answer.send(reply, "", {{"x", second}, {"y", {{"z", first}}}, {"again", second}, {"text", "list-"}});
    const Json all = Json::parse(reply.all());
    EXPECT_EQ(all["x"], Json({0, 1}));
    EXPECT_EQ(all["again"], Json({0, 1}));
    EXPECT_EQ(all["text"], "list-");
    ASSERT_EQ(all["y"]["z"].size(), count);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(all["y"]["z"][i], element(i));
  }
  Pulled plain;
  LongAnswer().send(plain, "", {{"a", 1}});
  EXPECT_EQ(plain.whole, "{\"a\":1}");
}

// What is before a list may fill pieces by itself.
TEST(LongAnswer, OpensAListOnceHoweverLongTheTextBeforeItIs) {
  for (const std::size_t length : {0U, 16'000U, 16'384U, 100'000U}) {
    LongAnswer answer;
    const Json list = answer.list(3, [](std::size_t index) -> Json { return index; });
    Pulled reply;
    const std::string text(length, 'a');
    answer.send(reply, "", {{"a", text}, {"b", list}, {"c", text}, {"d", list}});
    EXPECT_EQ(Json::parse(reply.all()), Json({{"a", text}, {"b", {0, 1, 2}}, {"c", text}, {"d", {0, 1, 2}}})) << length;
  }
}

TEST(LongAnswer, TakesNoMoreThanAPieceWhileItIsSent) {
  const Model model;
  const auto kept = std::make_shared<TokenReports>(model.served->reports, Bytes());
  kept->add(some_reports(4096, 20));
  LongAnswer answer;
  Pulled reply;
  std::size_t sent = 0;
  std::size_t largest = 0;
  const test::AllocationWatch watch;
  answer.send(reply, "", {{"content", probabilities_list(answer, model.served, kept, true)}});
  for (std::string one = reply.pieces(); !one.empty(); one = reply.pieces()) {
    sent += one.size();
    largest = std::max(largest, one.size());
  }
  EXPECT_GT(sent, std::size_t{4} << 20);
  EXPECT_LE(largest, std::size_t{24} << 10);
  EXPECT_LE(watch.peak().value, std::uint64_t{128} << 10);
}

// A client of the server that reads when it is told to.
TEST(LongAnswer, IsMadeAsItsClientReads) {
  std::atomic<int> made = 0;
  constexpr int kPieces = 2000;
  constexpr std::size_t kPiece = std::size_t{16} << 10;
  HttpOptions options;
  options.port = 0;
  HttpServer* running = nullptr;
  HttpServer server(options, [&](const Request& /*request*/, const std::shared_ptr<Reply>& reply) {
    reply->send_pieces(200, "text/plain", [&]() -> std::string {
      return made == kPieces ? std::string() : std::string(kPiece, static_cast<char>('a' + ++made % 26));
    });
    running->stop(60);
  });
  running = &server;
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  std::thread network([&] { server.run(); });
  constexpr std::string_view kAsk = "GET / HTTP/1.0\r\n\r\n";
  ASSERT_EQ(::write(client, kAsk.data(), kAsk.size()), static_cast<ssize_t>(kAsk.size()));
  std::string received;
  std::array<char, 65536> buffer{};
  int made_at_first = 0;
  for (;;) {
    const ssize_t count = ::read(client, buffer.data(), buffer.size());
    ASSERT_GE(count, 0);
    if (received.empty()) made_at_first = made;
    if (count == 0) break;
    received.append(buffer.data(), static_cast<std::size_t>(count));
  }
  network.join();
  ::close(client);
  EXPECT_EQ(made, kPieces);
  EXPECT_LT(made_at_first, kPieces) << "sockets take a few hundred of them";
  const std::size_t head = received.find("\r\n\r\n") + 4;
  ASSERT_EQ(received.size() - head, kPieces * kPiece);
  for (int i = 0; i < kPieces; ++i) {
    EXPECT_EQ(received[head + static_cast<std::size_t>(i) * kPiece], static_cast<char>('a' + (i + 1) % 26)) << i;
  }
}

}  // namespace
}  // namespace loadline::serve
