// POST /slots/N?action=save|restore|erase: what a place has in the cache, to a file and back, as llama.cpp's server has
// it. Files lie in the one folder that the server was started with.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "engine/saved_text.h"
#include "serve/dialects.h"

namespace loadline::serve {
namespace {

// A name within the folder: no part of a path, and nothing hidden.
std::string file_name_of(const Json& body) {
  constexpr std::size_t kLongest = 200;
  const std::string name = get_string(body, "filename").value_or("");
  const bool plain =
      std::ranges::all_of(name, [](unsigned char c) { return c >= 0x20 && c != 0x7F && c != '/' && c != '\\'; });
  if (name.empty() || name.size() > kLongest || name.front() == '.' || !plain) {
    throw wrong_field("filename", "a name of at most 200 bytes, without parts of a path");
  }
  return name;
}

std::uint32_t slot_of(const Call& call, std::string_view id) {
  std::uint32_t slot = 0;
  const auto [end, problem] = std::from_chars(id.data(), id.data() + id.size(), slot);
  if (problem != std::errc() || end != id.data() + id.size() || slot >= call.served->service->places()) {
    throw bad_input(
        fmt::format("there is no slot \"{}\": there are {}", printable(id), call.served->service->places()));
  }
  return slot;
}

// Of one action: done by the engine's thread, told by the network's.
struct Done {
  std::size_t tokens = 0;
  Bytes file;
  double seconds = 0;
};

void act(const Call& call, std::uint32_t slot, std::function<Done(engine::Engine&, std::vector<Token>&)> work,
         std::function<Json(const Done&)> told) {
  const auto done = std::make_shared<Done>();
  const bool taken = call.served->service->act(
      slot,
      [done, work = std::move(work)](engine::Engine& engine, std::vector<Token>& text) {
        const double begin = steady_seconds();
        if (const std::string why = engine::why_not_saved(engine); !why.empty()) throw NotOffered(why);
        *done = work(engine, text);
        done->seconds = steady_seconds() - begin;
      },
      [done, told = std::move(told), reply = call.reply, form = call.form](std::exception_ptr error) {
        if (!error) return reply->send(200, "application/json", dump(told(*done)));
        try {
          std::rethrow_exception(error);
        } catch (const std::exception& thrown) {
          refuse(*reply, form, refusal_of(thrown));
        }
      });
  if (!taken) throw Busy("the server is busy: others save and restore");
}

}  // namespace

void native_slot(const Call& call, std::string_view id) {
  const std::string action = query_value(call.query, "action");
  if (action != "save" && action != "restore" && action != "erase") {
    throw bad_input("\"action\" must be save, restore or erase");
  }
  const std::uint32_t slot = slot_of(call, id);
  const std::filesystem::path& folder = call.served->slot_folder;
  if (action != "erase" && folder.empty()) throw NotOffered("this server was started without a folder for slots");
  if (action == "erase") {
    return act(
        call, slot,
        [slot](engine::Engine& engine, std::vector<Token>& text) {
          const std::size_t cells = engine::forget_text(engine, slot, text);
          text.clear();
          return Done{cells, {}, 0};
        },
        [slot](const Done& done) -> Json { return {{"id_slot", slot}, {"n_erased", done.tokens}}; });
  }
  const std::string name = file_name_of(call.body);
  const std::filesystem::path path = folder / name;
  if (action == "save") {
    return act(
        call, slot,
        [slot, path](engine::Engine& engine, std::vector<Token>& text) {
          const engine::Saved saved = engine::save_text(engine, slot, text, path);
          return Done{saved.cells, saved.file, 0};
        },
        [slot, name](const Done& done) -> Json {
          return {{"id_slot", slot},
                  {"filename", name},
                  {"n_saved", done.tokens},
                  {"n_written", done.file.value},
                  {"timings", {{"save_ms", done.seconds * 1000}}}};
        });
  }
  act(
      call, slot,
      [slot, path](engine::Engine& engine, std::vector<Token>& text) {
        engine::Restored restored = engine::restore_text(engine, slot, path);
        text = std::move(restored.text);
        return Done{text.size(), restored.file, 0};
      },
      [slot, name](const Done& done) -> Json {
        return {{"id_slot", slot},
                {"filename", name},
                {"n_restored", done.tokens},
                {"n_read", done.file.value},
                {"timings", {{"restore_ms", done.seconds * 1000}}}};
      });
}

}  // namespace loadline::serve
