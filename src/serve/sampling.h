// The fields that say how tokens are chosen, by whatever name a dialect has for them, as one sample::Options. Clients
// send each other's names, and often all of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "sample/options.h"
#include "serve/json.h"
#include "tokenizer/tokenizer.h"

namespace loadline::serve {

// Whose names come first where a request has several for one thing, and what "off" is.
enum class Dialect : std::uint8_t { OpenAi, Native, Kobold, Ollama, Anthropic };

// What a dialect's own documentation says of a request that says nothing, over what the server was started with.
sample::Options defaults_of(Dialect dialect, sample::Options server);

// Throws Error(BadInput) naming the field.
sample::Options get_sampling(const Json& object, const sample::Options& defaults, Dialect dialect,
                             const tokenizer::Tokenizer& tokenizer, std::uint32_t context);

// Most tokens to generate; nullopt: the request does not say. Negative numbers mean no limit.
std::optional<std::int64_t> get_most_tokens(const Json& object, Dialect dialect);

// Texts that end an answer, of all names for them.
std::vector<std::string> get_stops(const Json& object);

// Phrases that must not be written.
std::vector<std::string> get_banned(const Json& object);

// Log-probabilities as the sampler's steps leave them are asked for.
bool after_steps(const Json& object);

// End tokens do not end the answer.
bool get_ignore_end(const Json& object);

// The settings as llama.cpp's "generation_settings".
Json sampling_json(const sample::Options& options);

}  // namespace loadline::serve
