// A chat template: parsed once, rendered as often as wanted. The language is jinja2's as transformers configures it.
// It does not know what a conversation is (conversation.h), nor which template a model has (model_template.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "chat/jinja/value.h"

namespace loadline::chat {

namespace jinja {
struct Tree;
}

// What went wrong with a template. `what()` is one sentence that names the line; the model or file is the caller's to
// add.
class TemplateError : public Error {
 public:
  enum class Kind : std::uint8_t {
    Unparsable,  // the text is no template
    Refused,     // it called raise_exception
    Failed,      // an operation in it cannot be done
    TooLarge,    // it reached a limit
  };
  TemplateError(Kind kind, const std::string& sentence, std::string detail, int line)
      : Error(ErrorCode::BadInput, sentence), kind_(kind), detail_(std::move(detail)), line_(line) {}
  [[nodiscard]] Kind kind() const { return kind_; }
  // The template's own sentence where it refused, else what is wrong without the line.
  [[nodiscard]] const std::string& detail() const { return detail_; }
  [[nodiscard]] int line() const { return line_; }

 private:
  Kind kind_;
  std::string detail_;
  int line_;
};

// A template is a stranger's program; these bound it.
struct RenderLimits {
  Bytes output{std::uint64_t{16} << 20};
  Bytes memory{std::uint64_t{256} << 20};  // everything a render holds at once
  std::uint64_t steps = 10'000'000;
  int calls = 100;  // macros inside one another
};

struct RenderOptions {
  RenderLimits limits;
  std::int64_t now = 0;  // what strftime_now gives: seconds since 1970-01-01 00:00 on the local clock
};

// This machine's local time, for RenderOptions::now.
std::int64_t local_time();
// "2026-01-02T03:04:05" (or with a blank, or the date alone). Throws Error(BadInput).
std::int64_t parse_time(std::string_view text);

// Immutable; may be rendered from several threads at once.
class Template {
 public:
  // Throws TemplateError.
  explicit Template(std::string_view source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // `variables` is a dict on `heap`, which bounds memory and steps. Throws TemplateError.
  [[nodiscard]] std::string render(jinja::Heap& heap, const jinja::Value& variables,
                                   const RenderOptions& options) const;
  // The same with a JSON object as variables. Throws Error(BadInput) where it is none.
  [[nodiscard]] std::string render(std::string_view variables_json, const RenderOptions& options = {}) const;

  [[nodiscard]] const std::string& source() const { return source_; }
  // Whether the source mentions a variable or attribute of this name at all.
  [[nodiscard]] bool mentions(std::string_view word) const;

 private:
  std::string source_;
  std::unique_ptr<const jinja::Tree> tree_;
};

// A heap with these limits.
jinja::Heap make_heap(const RenderLimits& limits);

}  // namespace loadline::chat
