// Texts as vectors: OpenAI's embeddings, llama.cpp's own, Ollama's two, KoboldCpp's. One request's texts are read a few
// at a time, so that a long list takes no more of the queue than there are places.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <functional>

#include "base/error.h"
#include "serve/dialects.h"
#include "serve/pooled.h"
#include "serve/request_memory.h"
#include "serve/token_ids.h"

namespace loadline::serve {
namespace {

constexpr std::size_t kMostTexts = 2048;

struct Texts {
  std::vector<std::vector<Token>> prompts;
  int norm = 2;                // see normalise
  std::size_t dimensions = 0;  // the first so many, if not 0
  Pooling pooling = Pooling::Last;
  Bytes tokens, vectors;  // what they take
};

// What the vectors of one text take.
Bytes vectors_of(const Served& served, Pooling pooling, std::size_t tokens) {
  const std::uint64_t vectors = pooling == Pooling::None ? tokens : 1;
  return Bytes(vectors * served.service->engine().program().config.embedding * sizeof(float));
}

void require_room(std::string_view what, Bytes wanted, Bytes most) {
  if (wanted <= most) return;
  throw TooLarge(
      fmt::format("the {} of these texts take more than the {} that there are for them", what, to_string(most)));
}

Json numbers_json(std::span<const float> vector) {
  Json out = Json::array();
  for (const float one : vector) out.push_back(number_json(one));
  return out;
}
Json numbers_json(const std::vector<std::vector<float>>& vectors) {
  Json out = Json::array();
  for (const std::vector<float>& one : vectors) out.push_back(numbers_json(one));
  return out;
}

// A text that is to be looked up is letters throughout; ids are what they are.
std::vector<Token> tokens_of_text(const Served& served, const Json& text, std::string_view field) {
  if (text.is_string()) return served.encode(text.get_ref<const std::string&>(), {.add_special = true});
  return tokens_of(served.tokenizer(), text, field,
                   "a string, an array of strings or of token ids, or an array of such");
}

Texts read_texts(const Call& call, std::initializer_list<const char*> fields) {
  const Served& served = *call.served;
  const Json& body = call.body;
  Texts out;
  out.pooling = served.pooling;
  out.norm = static_cast<int>(get_integer(body, "embd_normalize", -1, 1000).value_or(2));
  const auto width = static_cast<std::int64_t>(served.service->engine().program().config.embedding);
  out.dimensions = static_cast<std::size_t>(get_integer(body, "dimensions", 1, width).value_or(0));
  const bool cut = call.form == ErrorForm::Ollama && get_bool(body, "truncate").value_or(true);
  const Json* input = nullptr;
  std::string_view field = *fields.begin();
  for (const char* name : fields) {
    if (input != nullptr || find(body, name) == nullptr) continue;
    field = name;
    input = find(body, name);
  }
  if (input == nullptr) throw bad_input(fmt::format("\"{}\" is required", field));
  const auto add = [&](const Json& text) {
    std::vector<Token> tokens = tokens_of_text(served, text, field);
    if (tokens.empty() || text == "") throw bad_input(fmt::format("\"{}\" has an empty text", field));
    if (cut) tokens.resize(std::min<std::size_t>(tokens.size(), served.context()));
    if (tokens.size() > served.context()) throw TooLong(tokens.size(), served.context());
    tokens.shrink_to_fit();
    out.tokens += Bytes(tokens.size() * sizeof(Token));
    out.vectors += vectors_of(served, out.pooling, tokens.size());
    require_room("tokens", out.tokens, kMostTextTokens);
    require_room("vectors", out.vectors, kMostVectors);
    out.prompts.push_back(std::move(tokens));
  };
  if (input->is_array() && input->empty()) throw bad_input(fmt::format("\"{}\" is empty", field));
  const bool several =
      input->is_array() && std::ranges::any_of(*input, [](const Json& one) { return !one.is_number(); });
  if (!several) {
    add(*input);
  } else {
    if (input->size() > kMostTexts) throw wrong_field(field, fmt::format("at most {} texts", kMostTexts));
    for (const Json& one : *input) add(one);
  }
  return out;
}

class Embeddings;

// One of the texts.
class OneText final : public Listener {
 public:
  OneText(std::shared_ptr<Embeddings> all, std::size_t index) : all_(std::move(all)), index_(index) {}
  void piece(const Piece& /*piece*/) override {}
  void finished(const Outcome& outcome) override;

 private:
  std::shared_ptr<Embeddings> all_;
  std::size_t index_;
};

struct Result {
  std::vector<std::vector<std::vector<float>>> vectors;  // of each text: one, or one for each of its tokens
  std::size_t tokens = 0;
  double seconds = 0;
};
using Answer = std::function<Json(const Result&)>;

// The network's thread alone.
class Embeddings final : public std::enable_shared_from_this<Embeddings> {
 public:
  Embeddings(const Call& call, Texts texts, Answer answer)
      : served_(call.served),
        service_(*served_->service),
        reply_(call.reply),
        form_(call.form),
        key_(call.key),
        texts_(std::move(texts)),
        answer_(std::move(answer)),
        left_(texts_.prompts.size()),
        held_(texts_.tokens + texts_.vectors) {
    if (Bytes(served_->vectors) + held_ > kMostEmbeddings) throw Busy("the server is busy: others ask for embeddings");
    result_.vectors.resize(left_);
    ids_.resize(left_);
    served_->vectors += held_.value;
  }
  ~Embeddings() { served_->vectors -= held_.value; }
  Embeddings(const Embeddings&) = delete;
  Embeddings& operator=(const Embeddings&) = delete;

  // Throws Busy where not even one can be read.
  void start() {
    for (std::uint32_t i = 0; i < service_.places() && next_ < texts_.prompts.size(); ++i) {
      if (submit()) continue;
      if (next_ == 0) throw Busy("the server is busy: its queue is full");
      break;
    }
    reply_->when_gone([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->end();
    });
  }

  void finished(std::size_t index, const Outcome& outcome) {
    if (ended_) return;
    if (const auto failure = failure_of(outcome)) return fail(*failure);
    std::vector<std::vector<float>>& vectors = result_.vectors[index];
    vectors = outcome.vectors;
    for (std::vector<float>& one : vectors) {
      if (texts_.dimensions > 0) one.resize(std::min(one.size(), texts_.dimensions));
      normalise(one, texts_.norm);
    }
    result_.tokens += outcome.figures.prompt_tokens;
    result_.seconds += outcome.figures.prompt_seconds;
    --running_;
    if (--left_ == 0) return reply_->send(200, "application/json", dump(answer_(result_)));
    if (next_ < texts_.prompts.size() && !submit() && running_ == 0) {
      fail({503, "unavailable_error", "the server is busy: its queue is full", {}});
    }
  }

 private:
  bool submit() {
    Generation generation;
    generation.prompt = texts_.prompts[next_];
    generation.most_tokens = 0;
    generation.pooling = texts_.pooling;
    generation.key = key_;
    generation.keeps = served_;
    const auto id = service_.submit(std::move(generation), std::make_shared<OneText>(shared_from_this(), next_));
    if (!id) return false;
    ids_[next_++] = *id;
    ++running_;
    return true;
  }
  void fail(const Refusal& refusal) {
    end();
    refuse(*reply_, form_, refusal);
  }
  void end() {
    ended_ = true;
    for (std::size_t i = 0; i < next_; ++i) service_.cancel(ids_[i]);
  }

  std::shared_ptr<const Served> served_;
  Service& service_;
  std::shared_ptr<Reply> reply_;
  ErrorForm form_;
  std::string key_;
  Texts texts_;
  Answer answer_;
  Result result_;
  std::vector<Service::Id> ids_;
  std::size_t next_ = 0, left_;
  Bytes held_;  // of Served::vectors
  std::uint32_t running_ = 0;
  bool ended_ = false;
};

void OneText::finished(const Outcome& outcome) { all_->finished(index_, outcome); }

void embed(const Call& call, Texts texts, Answer answer) {
  std::make_shared<Embeddings>(call, std::move(texts), std::move(answer))->start();
}

// Little-endian float32 in base64 (RFC 4648), as clients decode them.
std::string as_base64(std::span<const float> vector) {
  static_assert(std::endian::native == std::endian::little);
  const std::span<const std::byte> bytes = std::as_bytes(vector);
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // with the zero that OpenSSL puts behind
  ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                    static_cast<int>(bytes.size()));
  out.pop_back();
  return out;
}

std::string model_of(const Call& call) { return get_string(call.body, "model").value_or(call.served->name); }

}  // namespace

void openai_embeddings(const Call& call) {
  Texts texts = read_texts(call, {"input", "content", "prompt"});
  if (texts.pooling == Pooling::None) {
    throw bad_input("this server gives a vector for each token, which only /embedding has a form for");
  }
  const std::string format = get_string(call.body, "encoding_format").value_or("float");
  if (format != "float" && format != "base64") throw wrong_field("encoding_format", "float or base64");
  embed(call, std::move(texts), [format, model = model_of(call)](const Result& result) -> Json {
    Json data = Json::array();
    for (std::size_t i = 0; i < result.vectors.size(); ++i) {
      const std::vector<float>& vector = result.vectors[i][0];
      Json one = format == "base64" ? Json(as_base64(vector)) : numbers_json(vector);
      data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(one)}});
    }
    return {{"object", "list"},
            {"data", std::move(data)},
            {"model", model},
            {"usage", {{"prompt_tokens", result.tokens}, {"total_tokens", result.tokens}}}};
  });
}

void native_embedding(const Call& call) {
  embed(call, read_texts(call, {"content", "input"}), [](const Result& result) -> Json {
    Json out = Json::array();
    for (std::size_t i = 0; i < result.vectors.size(); ++i) {
      out.push_back({{"index", i}, {"embedding", numbers_json(result.vectors[i])}});
    }
    return out;
  });
}

void ollama_embed(const Call& call) {
  Texts texts = read_texts(call, {"input"});
  if (texts.pooling == Pooling::None) throw NotOffered("this server gives a vector for each token");
  embed(call, std::move(texts), [model = model_of(call)](const Result& result) -> Json {
    Json vectors = Json::array();
    for (const auto& one : result.vectors) vectors.push_back(numbers_json(one[0]));
    const auto nanoseconds = static_cast<std::int64_t>(result.seconds * 1e9);
    return {{"model", model},
            {"embeddings", std::move(vectors)},
            {"total_duration", nanoseconds},
            {"load_duration", 1},
            {"prompt_eval_count", result.tokens}};
  });
}

// The older form: one text, one vector.
void ollama_embedding(const Call& call) {
  Texts texts = read_texts(call, {"prompt", "input"});
  if (texts.pooling == Pooling::None) throw NotOffered("this server gives a vector for each token");
  if (texts.prompts.size() != 1) throw bad_input("\"prompt\" must be one text");
  embed(call, std::move(texts),
        [](const Result& result) -> Json { return {{"embedding", numbers_json(result.vectors[0][0])}}; });
}

}  // namespace loadline::serve
