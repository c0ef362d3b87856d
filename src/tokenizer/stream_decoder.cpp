#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace loadline::tokenizer {

std::string StreamDecoder::push(Token token) {
  pending_ += tokenizer_->text_after(previous_, token, special_);
  previous_ = token;

  // All but an unfinished character at the end, which can only lie in the last three bytes.
  std::size_t ready = pending_.size();
  for (std::size_t back = 1; back <= 3 && back <= pending_.size(); ++back) {
    const Utf8Unit unit = first_utf8_unit(std::string_view(pending_).substr(pending_.size() - back));
    if (unit.kind == Utf8Kind::Unfinished && unit.length == back) ready = pending_.size() - back;
  }
  std::string out = replace_invalid_utf8(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, ready);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = replace_invalid_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace loadline::tokenizer
