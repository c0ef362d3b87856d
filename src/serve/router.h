// Which request goes where, and what holds for all of them: keys, foreign origins, wrong methods, errors in the words
// of the dialect that the path belongs to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/dialects.h"
#include "serve/http.h"
#include "serve/loadline_api.h"

namespace loadline::serve {

// The models there are. Calls come from the network's thread.
class Models {
 public:
  virtual ~Models() = default;
  // All that are loaded, the one used last first.
  [[nodiscard]] virtual std::vector<const Served*> loaded() const = 0;
  // The one that a request by this name means; null where there is none. Empty: whichever.
  [[nodiscard]] virtual const Served* find(std::string_view name) const = 0;
  // Why nothing can be answered yet; empty where it can.
  [[nodiscard]] virtual std::string loading() const { return {}; }
};

// One model, whatever it is asked for by: clients send names that they made up.
class OneModel final : public Models {
 public:
  void set(const Served* served) { served_ = served; }
  [[nodiscard]] std::vector<const Served*> loaded() const override {
    return served_ == nullptr ? std::vector<const Served*>() : std::vector<const Served*>{served_};
  }
  [[nodiscard]] const Served* find(std::string_view /*name*/) const override { return served_; }
  [[nodiscard]] std::string loading() const override { return served_ == nullptr ? "Loading model" : ""; }

 private:
  const Served* served_ = nullptr;
};

struct RouterOptions {
  Worker* worker = nullptr;       // for plans; null: none are made
  std::vector<std::string> keys;  // none: everybody may ask
  bool loopback = true;           // listens at this machine's own addresses alone
};

class Router {
 public:
  Router(const Models& models, RouterOptions options);
  // Answers now, or hands the reply to what will.
  void handle(const Request& request, const std::shared_ptr<Reply>& reply) const;

 private:
  struct Asked {
    const Request& request;
    std::string_view path;  // plain
    std::shared_ptr<Reply> reply;
    ErrorForm form;
    std::string key;
  };
  void answer(const Asked& asked) const;
  bool answer_get(const Asked& asked) const;
  bool answer_probe(const Asked& asked, Json& out) const;
  bool answer_loadline(const Asked& asked) const;
  void answer_root(const Asked& asked) const;
  void answer_post(const Asked& asked, void (*function)(const Call&)) const;
  [[nodiscard]] Call make_call(const Asked& asked) const;
  [[nodiscard]] bool find_key(const Request& request, std::string& key) const;
  [[nodiscard]] bool is_known_host(const Request& request) const;
  [[nodiscard]] const Served& model_for(std::string_view name) const;

  const Models& models_;
  RouterOptions options_;
};

// Equal, in a time that does not depend on where they differ.
bool same_key(std::string_view given, std::string_view key);

// A path as the tables know it: without "/v1" in front, doubled or not, and without slashes at its end.
std::string_view plain_path(std::string_view path);

// By the path.
ErrorForm error_form_of(std::string_view path);

}  // namespace loadline::serve
