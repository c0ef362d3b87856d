// What is answered where there is no model yet, and what of bytes is a request at all.
#include "serve/router.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "base/error.h"
#include "serve/loadline_api.h"

namespace loadline::serve {
namespace {

class Kept final : public Reply {
 public:
  void send(int now, std::string_view, std::string text) override {
    status = now;
    body = std::move(text);
  }
  void begin(int now, std::string_view) override { status = now; }
  void write(std::string text) override { body += text; }
  void end() override {}
  void send_pieces(int now, std::string_view, std::function<std::string()>) override { status = now; }
  void set_header(std::string name, std::string value) override { headers[name] = std::move(value); }
  void when_gone(std::function<void()>) override {}
  void after(double, std::function<void()> callback) override { later = std::move(callback); }
  void set_endless() override {}

  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;
  std::function<void()> later;
};

std::shared_ptr<Kept> ask(const std::string& method, const std::string& path) {
  OneModel none;
  const Router router(none, {});
  const auto reply = std::make_shared<Kept>();
  Request request;
  request.method = method;
  request.path = path;
  router.handle(std::move(request), reply);
  return reply;
}

TEST(Router, EverythingIsUnavailableWhileTheModelLoadsInTheWordsOfEachDialect) {
  for (const char* path : {"/health", "/v1/health", "/v1/models", "/props", "/metrics"}) {
    const auto reply = ask("GET", path);
    EXPECT_EQ(reply->status, 503) << path;
    EXPECT_EQ(reply->headers["Retry-After"], "1");
    EXPECT_EQ(Json::parse(reply->body)["error"]["message"], "Loading model") << path;
  }
  EXPECT_EQ(ask("POST", "/v1/chat/completions")->status, 503);
  EXPECT_EQ(Json::parse(ask("GET", "/api/tags")->body)["error"], "Loading model");
  EXPECT_EQ(Json::parse(ask("POST", "/v1/messages")->body)["error"]["type"], "overloaded_error");
  EXPECT_EQ(Json::parse(ask("GET", "/api/v1/model")->body)["detail"]["type"], "service_unavailable");
}

TEST(HttpParse, TakesARequestApart) {
  const auto request =
      parse_request("POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\nX-Odd:  y \r\nContent-Length: 2\r\n\r\n{}GET", {});
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->path, "/v1/x");
  EXPECT_EQ(request->query, "a=b");
  EXPECT_EQ(request->header("x-odd"), "y");
  EXPECT_EQ(request->body, "{}");
  const auto chunked =
      parse_request("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\n\r\n", {});
  ASSERT_TRUE(chunked);
  EXPECT_EQ(chunked->body, "abcde");
}

TEST(HttpParse, WhatIsNotWholeIsNoneYet) {
  const std::string whole = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(parse_request(whole.substr(0, size), {})) << size;
  EXPECT_TRUE(parse_request(whole, {}));
}

TEST(HttpParse, RefusesWhatIsAmbiguousTooLargeOrNoHttp) {
  const auto why = [](const std::string& head, const HttpOptions& options) -> std::string {
    try {
      return parse_request("POST /x HTTP/1.1\r\n" + head + "\r\n\r\n0\r\n\r\n", options) ? "taken" : "not whole";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const HttpOptions usual;
  EXPECT_EQ(why("Transfer-Encoding: chunked", usual), "taken");
  for (const char* head : {"Content-Length: 2\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip",
                           "Content-Length: -1", "Content-Length: 2\r\nContent-Length: 3", "no colon", "Bad Name: x"}) {
    EXPECT_NE(why(head, usual), "taken") << head;
    EXPECT_NE(why(head, usual), "not whole") << head;
  }
  HttpOptions small;
  small.most_body = Bytes(3);
  EXPECT_EQ(why("Content-Length: 4", small), "the body is larger than this server takes");
  EXPECT_EQ(why("X: " + std::string(70000, 'a'), usual), "the header is larger than this server takes");
}

std::size_t events_in(std::string_view text) {
  constexpr std::string_view kEvent = "event: state\n";
  std::size_t count = 0;
  for (std::size_t at = text.find(kEvent); at != text.npos; at = text.find(kEvent, at + 1)) ++count;
  return count;
}

TEST(Router, WhileNothingChangesTheStateIsToldAtEveryEighthLook) {
  const auto reply = std::make_shared<Kept>();
  stream_state([] { return nullptr; }, reply, 0.25);
  for (std::size_t looks = 0; looks < 17; ++looks) {
    EXPECT_EQ(events_in(reply->body), 1 + looks / 8);
    ASSERT_TRUE(reply->later);
    std::exchange(reply->later, nullptr)();
  }
}

TEST(Router, BrowsersAreAnsweredMeanwhile) { EXPECT_EQ(ask("OPTIONS", "/v1/chat/completions")->status, 204); }

}  // namespace
}  // namespace loadline::serve
