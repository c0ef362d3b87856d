// What is answered where there is no model yet.
#include "serve/router.h"

#include <gtest/gtest.h>

#include <map>

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
  void set_header(std::string name, std::string value) override { headers[name] = std::move(value); }
  void when_gone(std::function<void()>) override {}
  void after(double, std::function<void()>) override {}
  void set_endless() override {}

  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;
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

TEST(Router, BrowsersAreAnsweredMeanwhile) { EXPECT_EQ(ask("OPTIONS", "/v1/chat/completions")->status, 204); }

}  // namespace
}  // namespace loadline::serve
