// A model as the dialects see it: its service, its names, how conversations become its prompts, and what it is used
// with where a request does not say.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/tools.h"
#include "serve/json.h"
#include "serve/service.h"
#include "talk/chat_model.h"

namespace loadline::serve {

// A name as models are compared by: in lower case, without ":latest" and ".gguf".
std::string plain_name(std::string_view name);

class Guard;
class TokenReports;

// Grammars that were asked for lately: compiling one takes longer than using it.
class GrammarCache {
 public:
  // With what sets it off. Null: nothing is constrained.
  using Compiled = std::shared_ptr<const grammar::ToolGrammar>;
  // `text` says everything of what is compiled.
  Compiled get(const std::string& text, const std::function<std::optional<grammar::ToolGrammar>()>& compile);

 private:
  struct Entry {
    std::string text;
    Compiled grammar;
    std::uint64_t used = 0;
  };
  std::mutex mutex_;
  std::array<Entry, 8> entries_;
  std::uint64_t clock_ = 0;
};

// Immutable while it is served, but for the service and the cache, which look after themselves.
struct Served {
  std::string name;                  // what clients call the model
  std::vector<std::string> aliases;  // other names for it
  std::int64_t since = 0;            // s since 1970
  sample::Options sampling;          // where a request does not say
  Pooling pooling = Pooling::Last;   // of embeddings
  std::unique_ptr<const talk::ChatModel> chat;
  std::string bos, eos;               // their texts
  std::filesystem::path slot_folder;  // where slots are saved; empty: nowhere
  std::string architecture, size_label, file_type;
  std::uint64_t parameters = 0;
  Bytes file_size;
  std::string digest;  // of the header, in hexadecimal: 64 digits
  // What watches the machine meanwhile, as JSON {"degraded", "verdicts", ...} and as lines of metrics; empty: nothing.
  std::function<Json()> watch_json;
  std::function<std::string()> watch_metrics;
  // Takes from what a plan of it may have what other models hold; empty: there are none. From any thread.
  std::function<void(Basis&)> leave_to_others;
  mutable GrammarCache grammars;
  mutable std::atomic<std::uint64_t> vectors{0};  // bytes of embeddings that are asked for, and of their texts
  // Bytes of log-probabilities that are kept until their answers are sent; outlives them.
  std::shared_ptr<std::atomic<std::uint64_t>> reports = std::make_shared<std::atomic<std::uint64_t>>(0);
  mutable std::shared_ptr<const TokenReports> last_reports;  // for who asks afterwards; the network's thread's
  std::unique_ptr<Service> service;
  std::unique_ptr<Guard> guard;  // goes before the service

  Served();
  ~Served();
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;
  // Ends what runs.
  void end();

  [[nodiscard]] const tokenizer::Tokenizer& tokenizer() const { return chat->tokenizer(); }
  [[nodiscard]] const chat::Capabilities& can() const { return chat->can(); }
  [[nodiscard]] std::uint32_t context() const { return service == nullptr ? 0 : service->context(); }
  // The tokens of a text. Throws TooLarge for one that is longer than `most_text` of the context.
  [[nodiscard]] std::vector<Token> encode(std::string_view text, const tokenizer::EncodeOptions& options) const;
  // It is meant by this name: in any case, with or without ":latest".
  [[nodiscard]] bool is_called(std::string_view wanted) const;
  [[nodiscard]] bool can_fill_in() const;  // it has tokens for filling in the middle
  [[nodiscard]] bool reasons() const;      // its template knows of reasoning
};

// The ids of a prompt: special tokens in it count, and BOS is added unless the text begins with it.
std::vector<Token> encode_prompt(const Served& served, std::string_view text);

}  // namespace loadline::serve
