// The APIs that clients speak: each turns its requests into generations and what comes back into its own words.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/call.h"
#include "serve/json.h"
#include "serve/models.h"
#include "serve/served.h"

namespace loadline::serve {

// OpenAI: POST chat/completions and completions.
void openai_chat(const Call& call);
void openai_completion(const Call& call);
// The ids of "prompt": a text, ids, both, or several of these.
std::vector<std::vector<Token>> read_prompts(const Served& served, const Json& body);
// One model as GET /v1/models lists it, with what other servers tell of theirs.
Json model_entry(const Served& served);
Json model_entry(const Listed& listed);

// POST responses; the tokens that a request would have.
void openai_responses(const Call& call);
void openai_count(const Call& call);

// Texts as vectors: OpenAI's embeddings (and KoboldCpp's), llama.cpp's own, Ollama's /api/embed and /api/embeddings.
void openai_embeddings(const Call& call);
void native_embedding(const Call& call);
void ollama_embed(const Call& call);
void ollama_embedding(const Call& call);

// The other dialects' conversations in the one form (chat_request.h).
Json responses_body(const Json& body);
Json anthropic_body(const Json& body);
Json ollama_body(const Served& served, const Json& body);

// {"id", "piece"} of each; a piece that is part of a character is an array of its bytes.
// Throws TooLarge.
void require_tellable(std::size_t tokens);
Json pieces_json(const tokenizer::Tokenizer& tokenizer, std::span<const Token> tokens);

// llama.cpp's server: POST /completion, /infill; GET /props, /slots, /metrics; POST /tokenize, /detokenize,
// /apply-template.
void native_completion(const Call& call);
void native_infill(const Call& call);
Json native_props(const Served& served);
Json native_slots(const Served& served);
std::string native_metrics(const Served& served);
void native_tokenize(const Call& call);
void native_detokenize(const Call& call);
void native_template(const Call& call);
void native_rerank(const Call& call);
// POST /slots/ID?action=...
void native_slot(const Call& call, std::string_view id);

// Anthropic: POST /v1/messages and /v1/messages/count_tokens.
void anthropic_messages(const Call& call);
void anthropic_count(const Call& call);

// Ollama: POST /api/chat, /api/generate, /api/show, /api/pull; what GET /api/tags and /api/ps list.
void ollama_chat(const Call& call);
void ollama_generate(const Call& call);
void ollama_show(const Call& call);
void ollama_show(const Call& call, const Listed& listed);
void ollama_pull(const Call& call);
Json ollama_tag(const Served& served);
Json ollama_tag(const Listed& listed);
// `left`: seconds for which it stays; nullopt: for ever.
Json ollama_process(const Served& served, std::optional<double> left);
// How long a request wants its model kept; nullopt: for ever.
std::optional<double> ollama_keep_alive(const Json& body);
// It has nothing to answer and wants its model gone, which it is.
bool ollama_unloads(const Json& body);
void ollama_is_unloaded(const Call& call);

// KoboldCpp: POST /api/v1/generate and what is below /api/extra.
void kobold_generate(const Call& call);
void kobold_stream(const Call& call);
void kobold_abort(const Call& call);
void kobold_check(const Call& call);
void kobold_probabilities(const Call& call);
void kobold_count(const Call& call);
void kobold_detokenize(const Call& call);
void kobold_grammar(const Call& call);
// Its GET routes. False where the path is none of them.
bool kobold_probe(const Served& served, std::string_view path, bool keys, Json& out);

}  // namespace loadline::serve
