// From a template's text to its tree: jinja2's grammar, with loop controls and transformers' generation tag.
#pragma once

#include <memory>
#include <string_view>

#include "chat/jinja/ast.h"

namespace loadline::chat::jinja {

// Throws Failure with a line. Time and memory are linear in the source; nesting is bounded.
std::unique_ptr<const Tree> parse(std::string_view source);

}  // namespace loadline::chat::jinja
