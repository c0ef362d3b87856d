// Which request goes where, and what holds for all of them: keys, foreign origins, wrong methods, errors in the words
// of the dialect that the path belongs to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serve/dialects.h"
#include "serve/http.h"
#include "serve/loadline_api.h"
#include "serve/models.h"

namespace loadline::serve {

struct RouterOptions {
  Worker* worker = nullptr;       // for plans; null: none are made
  std::vector<std::string> keys;  // none: everybody may ask
  bool loopback = true;           // listens at this machine's own addresses alone
  std::string machine;            // its name, in lower case; empty: nobody knows
};

class Router {
 public:
  Router(Models& models, RouterOptions options);
  // Answers now, or hands the reply to what will.
  void handle(Request request, const std::shared_ptr<Reply>& reply) const;

 private:
  struct Asked {
    std::shared_ptr<const Request> kept;  // whose parts the others are
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
  // With the model that the call's body, or the query, names, once it is loaded.
  using Function = std::function<void(const Call&)>;
  void answer_with_model(const Asked& asked, const Function& function) const;
  void give_model(const Asked& asked, Call call, const std::string& wanted, const Function& function, int tries) const;
  [[nodiscard]] Call make_call(const Asked& asked, std::string& wanted) const;
  [[nodiscard]] Call call_of_loaded(const Asked& asked) const;
  bool answer_models(const Asked& asked) const;
  void load_or_unload(const Asked& asked) const;
  [[nodiscard]] Json list_of_models() const;
  [[nodiscard]] bool find_key(const Request& request, std::string& key) const;
  [[nodiscard]] bool is_known_host(const Request& request) const;
  [[nodiscard]] std::shared_ptr<const Served> served_for(std::string_view name) const;
  [[nodiscard]] const Served& model_for(std::string_view name) const { return *served_for(name); }
  [[nodiscard]] bool answer_change(const Asked& asked) const;

  Models& models_;
  RouterOptions options_;
};

// Equal, in a time that does not depend on where they differ.
bool same_key(std::string_view given, std::string_view key);

// A path as the tables know it: without "/v1" in front, doubled or not, and without slashes at its end.
std::string_view plain_path(std::string_view path);

// By the path.
ErrorForm error_form_of(std::string_view path);

// For HttpOptions::refusal.
std::string refusal_text(std::string_view path, int status, std::string_view why);

}  // namespace loadline::serve
