// The options that make a generation keep to a grammar, the same for every command that generates.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "grammar/session.h"
#include "tokenizer/tokenizer.h"

namespace loadline::cli {

class Command;

// A grammar, what it needs to know of the model's tokens, and where in it the text is. Lives in one place.
class Constraint {
 public:
  Constraint(grammar::Grammar grammar, const tokenizer::Tokenizer& tokenizer)
      : grammar_(std::move(grammar)), index_(grammar::TokenIndex::of(tokenizer)), session_(grammar_, index_) {}
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  [[nodiscard]] grammar::Session& session() { return session_; }
  // All that it holds.
  [[nodiscard]] Bytes memory() const {
    return grammar_.resident_bytes() + index_.resident_bytes() + grammar::Session::memory_bytes(grammar_, index_);
  }

 private:
  grammar::Grammar grammar_;
  grammar::TokenIndex index_;
  grammar::Session session_;
};

// The flags as given. `add_to` binds this object, which must outlive the parsing.
class GrammarOptions {
 public:
  void add_to(Command& command);
  // Null without a grammar. Throws Error(BadInput) naming the flag.
  [[nodiscard]] std::unique_ptr<Constraint> constraint(const tokenizer::Tokenizer& tokenizer) const;
  // The grammar alone; nullopt without one.
  [[nodiscard]] std::optional<grammar::Grammar> grammar(const tokenizer::Tokenizer& tokenizer) const;

 private:
  std::string grammar_;
  std::string grammar_file_;
  std::string schema_;
  std::string schema_file_;
};

}  // namespace loadline::cli
