// What the cache keeps of texts, as the page shows it, what a text that somebody writes would find in it, and what a
// report is to say of the machine: see loadline_api.h.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/error.h"
#include "base/version.h"
#include "exec/kept_texts.h"
#include "hardware/json.h"
#include "quant/kv_page.h"
#include "serve/chat_request.h"
#include "serve/dialects.h"
#include "serve/loadline_api.h"

namespace loadline::serve {
namespace {

using exec::KeptText;
using exec::PagePool;

// What the engine's thread found, for the network's to tell.
struct CacheLook {
  std::vector<KeptText> texts;
  std::size_t all = 0;
  std::vector<PagePool::Gone> gone;
  std::uint32_t pages = 0, available = 0, kept = 0, pinned = 0;
  bool can_pin = false;
  double now = 0;
};

CacheLook look_at(engine::Engine& engine) {
  constexpr std::size_t kMostTexts = 64;
  constexpr std::size_t kTold = 24;  // tokens of each end
  const exec::KvCache& cache = engine.executor().cache();
  CacheLook out;
  out.texts = exec::kept_texts(cache, kTold);
  out.all = out.texts.size();
  // Those that are held or pinned are told in any case.
  std::ranges::stable_partition(out.texts, [](const KeptText& text) { return text.held || text.pinned > 0; });
  if (out.texts.size() > kMostTexts) out.texts.resize(kMostTexts);
  for (const PagePool::Gone& gone : cache.pool().gone()) {
    if (gone.number > 0) out.gone.push_back(gone);
  }
  std::ranges::sort(out.gone, std::ranges::greater{}, &PagePool::Gone::number);
  out.pages = cache.pool().pages();
  out.available = cache.available_pages();
  out.kept = cache.pool().kept_pages();
  out.pinned = cache.pool().pinned_pages();
  out.can_pin = cache.can_pin();
  out.now = steady_seconds();
  return out;
}

std::string words(const Served& served, std::span<const Token> tokens) {
  std::string out;
  for (const Token token : tokens) out += served.tokenizer().piece(token, true);
  return out;
}

double age(double now, std::uint32_t then) { return std::max(0.0, now - static_cast<double>(then)); }

Json text_json(const Served& served, const KeptText& text, const CacheLook& look, std::uint64_t cell_bytes) {
  return {{"id", fmt::format("{}-{}", text.last, text.before)},
          {"tokens", text.cells},
          {"bytes", text.cells * cell_bytes},
          {"shared_tokens", text.shared},
          {"pinned_tokens", text.pinned},
          {"hits", text.hits},
          {"saved_tokens", text.found},
          {"age", age(look.now, text.used)},
          {"in_use", text.held},
          {"beginning", words(served, text.beginning)},
          {"end", words(served, text.end)}};
}

Json cache_json(const Served& served, const CacheLook& look) {
  const std::uint64_t page_bytes = cache_page_bytes(*served.service->plan()).value;
  const std::uint64_t cell_bytes = page_bytes / quant::kKvPageCells;
  Json texts = Json::array();
  for (const KeptText& text : look.texts) texts.push_back(text_json(served, text, look, cell_bytes));
  Json gone = Json::array();
  for (const PagePool::Gone& one : look.gone) {
    gone.push_back({{"tokens", one.cells},
                    {"bytes", one.cells * cell_bytes},
                    {"hits", one.hits},
                    {"unused", std::max(0.0, static_cast<double>(one.when) - static_cast<double>(one.used))},
                    {"ago", age(look.now, one.when)},
                    {"why", "others needed its cells, and nothing had been unused for longer"},
                    {"beginning", words(served, std::span(one.tokens).first(one.told))}});
  }
  const Service::Load load = served.service->load();
  Json emptied;
  if (load.changes > 0 && load.last_change.error.empty()) emptied = load.last_change.why;
  return {{"page_cells", quant::kKvPageCells},
          {"page_bytes", page_bytes},
          {"pages", look.pages},
          {"held_pages", look.pages - look.available},
          {"kept_pages", look.kept},
          {"pinned_pages", look.pinned},
          {"can_pin", look.can_pin},
          {"texts", std::move(texts)},
          {"texts_in_all", look.all},
          {"gone", std::move(gone)},
          {"emptied", std::move(emptied)}};
}

// Has `work` done between passes, and its outcome told as `told` makes it. The service keeps what is to be told, and so
// that must not keep the model.
template <class Outcome>
void look_between_passes(const Call& call, std::function<Outcome(engine::Engine&)> work,
                         std::function<Json(const Served&, const Outcome&)> told) {
  const auto outcome = std::make_shared<Outcome>();
  const bool taken =
      call.served->service->act([outcome, work = std::move(work)](engine::Engine& engine) { *outcome = work(engine); },
                                [outcome, told = std::move(told), reply = call.reply, form = call.form,
                                 kept = std::weak_ptr(call.served)](std::exception_ptr error) {
                                  try {
                                    if (error) std::rethrow_exception(error);
                                    const auto served = kept.lock();
                                    if (served == nullptr) throw Busy("the model is being unloaded");
                                    reply->send(200, "application/json", dump(told(*served, *outcome)));
                                  } catch (const std::exception& thrown) {
                                    refuse(*reply, form, refusal_of(thrown));
                                  }
                                });
  if (!taken) throw Busy("the server is busy: others look at its cache");
}

// "PAGE-TEXT", as text_json writes it.
std::pair<exec::PageIndex, exec::TextName> read_id(const std::string& id) {
  exec::PageIndex page = 0;
  exec::TextName before = 0;
  const char* const end = id.data() + id.size();
  const auto first = std::from_chars(id.data(), end, page);
  const bool divided = first.ec == std::errc() && first.ptr != end && *first.ptr == '-';
  const auto second = std::from_chars(divided ? first.ptr + 1 : end, end, before);
  if (!divided || second.ec != std::errc() || second.ptr != end) {
    throw wrong_field("id", "what /api/loadline/cache calls a text");
  }
  return {page, before};
}

// How fast prompts are read: as they were, once there were some, or as predicted.
double prompt_rate(const Service& service, bool& measured) {
  constexpr std::uint64_t kEnough = 256;  // tokens
  const Service::Load load = service.load();
  measured = load.prompt_tokens >= kEnough && load.prompt_seconds > 0;
  return measured ? static_cast<double>(load.prompt_tokens) / load.prompt_seconds
                  : service.plan()->prediction.prompt_rate;
}

}  // namespace

void look_at_cache(const Call& call) {
  look_between_passes<CacheLook>(
      call, [](engine::Engine& engine) { return look_at(engine); },
      [](const Served& served, const CacheLook& look) { return cache_json(served, look); });
}

void pin_in_cache(const Call& call, Worker& /*worker*/) {
  const auto id = get_string(call.body, "id");
  if (!id) throw wrong_field("id", "what /api/loadline/cache calls a text");
  const auto [page, before] = read_id(*id);
  const bool pinned = get_bool(call.body, "pinned").value_or(true);
  look_between_passes<std::uint32_t>(
      call,
      [page, before, pinned](engine::Engine& engine) {
        const std::uint32_t cells = exec::pin_text(engine.executor().cache(), page, before, pinned);
        engine.scheduler().note_pages();
        return cells;
      },
      [pinned](const Served& /*served*/, const std::uint32_t& cells) {
        return Json{{"pinned", pinned}, {"pinned_tokens", cells}};
      });
}

void look_at_prompt(const Call& call) {
  const bool conversation = find(call.body, "messages") != nullptr;
  auto tokens = std::make_shared<std::vector<Token>>();
  if (conversation) {
    *tokens = read_chat(*call.served, call.body, Dialect::OpenAi).generation.prompt;
  } else {
    const auto text = get_string(call.body, "prompt");
    if (!text) throw bad_input("\"messages\" or \"prompt\" must be there");
    *tokens = encode_prompt(*call.served, *text);
  }
  const bool pieces = get_bool(call.body, "pieces").value_or(false);
  look_between_passes<std::uint32_t>(
      call,
      [tokens](engine::Engine& engine) -> std::uint32_t {
        if (tokens->empty()) return 0;
        // All but the last, whose logits are needed.
        const auto most = static_cast<std::uint32_t>(std::min<std::size_t>(tokens->size() - 1, UINT32_MAX));
        return engine.executor().cache().shared_cells(*tokens, most);
      },
      [tokens, pieces](const Served& served, const std::uint32_t& cached) {
        const Service& service = *served.service;
        bool measured = false;
        const double rate = prompt_rate(service, measured);
        const std::size_t count = tokens->size();
        const auto computed = static_cast<double>(count - std::min<std::size_t>(cached, count));
        Json out = {{"tokens", count},
                    {"cached", cached},
                    {"context", service.context()},
                    {"left", service.context() - std::min<std::size_t>(count, service.context())},
                    {"prompt_rate", rate},
                    {"measured", measured},
                    {"seconds", rate > 0 ? Json(computed / rate) : Json()}};
        if (pieces) out["pieces"] = pieces_json(served.tokenizer(), *tokens);
        return out;
      });
}

Json about_json(const Models& models) {
  Json out = {{"version", kVersion}};
  const auto served = models.find("");
  out["machine"] = served == nullptr ? Json() : Json::parse(hardware::to_json(served->service->basis()->machine));
  return out;
}

}  // namespace loadline::serve
