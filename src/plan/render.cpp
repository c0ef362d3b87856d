#include "plan/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "plan/describe.h"
#include "plan/predict.h"

namespace loadline::plan {
namespace {

constexpr std::size_t kLabelWidth = 17;
constexpr std::size_t kColumnWidth = 19;
constexpr int kBarCells = 15;

// Characters on the screen, which for what we print is the number of UTF-8 characters outside of colour escapes.
std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      i = std::min(text.find('m', i), text.size() - 1);
    } else if ((text[i] & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}
std::string padded(std::string text, std::size_t width) {
  const std::size_t now = width_of(text);
  if (now < width) text.append(width - now, ' ');
  return text;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

class Table {
 public:
  void row(std::string_view label, std::vector<std::string> cells) {
    cells.insert(cells.begin(), "  " + std::string(label));
    rows_.push_back(std::move(cells));
  }
  [[nodiscard]] std::string text() const {
    std::vector<std::size_t> widths = {kLabelWidth + 4};
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()), kColumnWidth);
      for (std::size_t i = 1; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]) + 3);
    }
    std::string text;
    for (const auto& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) line += padded(row[i], widths[i]);
      text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string size_cell(Bytes size) { return size.value == 0 ? "-" : to_string(size); }

std::string bar_of(Bytes total, Bytes budget, bool colours) {
  const double share = budget.value == 0 ? 1.0 : static_cast<double>(total.value) / static_cast<double>(budget.value);
  const int filled = std::clamp(static_cast<int>(share * kBarCells + 0.5), total.value > 0 ? 1 : 0, kBarCells);
  std::string bar;
  if (colours) bar += share > 1.0 ? "\033[31m" : "\033[32m";
  for (int i = 0; i < kBarCells; ++i) bar += i < filled ? "█" : "░";
  if (colours) bar += "\033[0m";
  return bar;
}

// GPUs, RAM, and the disk where weights stay on it.
std::vector<std::uint32_t> columns_of(const Plan& plan) {
  std::vector<std::uint32_t> tiers;
  for (std::uint32_t tier = 1; tier < plan.tiers.size(); ++tier) {
    if (plan.tiers[tier].kind == TierKind::Gpu) tiers.push_back(tier);
  }
  tiers.push_back(kCpu);
  if (!plan.stream.empty() || plan.embedding_rows != kNoRegion) {
    tiers.push_back(static_cast<std::uint32_t>(plan.tiers.size() - 1));
  }
  return tiers;
}

// What stays on disk: read for every pass, and the embedding whose rows are looked up there.
Bytes on_disk(const gguf::Model& model, const model::Program& program, const Plan& plan) {
  Bytes bytes = streamed_bytes(plan);
  if (plan.embedding_rows != kNoRegion) {
    const model::TensorIndex table = program.groups.front().tensors().front();
    const bool streamed_too = std::ranges::any_of(plan.stream, [&](const StreamSlot& slot) {
      return std::ranges::find(slot.tensors, table) != slot.tensors.end();
    });
    if (!streamed_too) bytes += model.tensors[static_cast<std::size_t>(table)].size;
  }
  return bytes;
}

std::string memory_table(const gguf::Model& model, const model::Program& program, const Plan& plan,
                         const RenderOptions& options) {
  const std::vector<std::uint32_t> tiers = columns_of(plan);
  const auto cells = [&](auto&& cell) {
    std::vector<std::string> row;
    for (const std::uint32_t tier : tiers) row.push_back(cell(tier));
    return row;
  };
  const auto is_disk = [&](std::uint32_t tier) { return plan.tiers[tier].kind == TierKind::Disk; };
  Table table;
  table.row("", cells([&](std::uint32_t tier) {
              return is_disk(tier) ? std::string("disk") : tier == kCpu ? "RAM" : fmt::format("GPU {}", tier - 1);
            }));
  table.row("", cells([&](std::uint32_t tier) {
              return tier == kCpu ? to_string(plan.tiers[tier].capacity) : printable(plan.tiers[tier].name, 40);
            }));
  constexpr std::array kPurposes = {Purpose::Weights, Purpose::KvCache, Purpose::Scratch, Purpose::Staging,
                                    Purpose::Runtime};
  for (const Purpose purpose : kPurposes) {
    table.row(name_of(purpose), cells([&](std::uint32_t tier) {
                if (!is_disk(tier)) return size_cell(tier_total(plan, tier, purpose));
                return purpose == Purpose::Weights ? size_cell(on_disk(model, program, plan)) : std::string("-");
              }));
  }
  table.row("total", cells([&](std::uint32_t tier) {
              return is_disk(tier) ? size_cell(on_disk(model, program, plan)) : to_string(tier_total(plan, tier));
            }));
  table.row("budget",
            cells([&](std::uint32_t tier) { return is_disk(tier) ? "-" : to_string(plan.tiers[tier].budget); }));
  if (options.bars) {
    table.row("", cells([&](std::uint32_t tier) {
                return is_disk(tier) ? std::string()
                                     : bar_of(tier_total(plan, tier), plan.tiers[tier].budget, options.colours);
              }));
  }
  table.row("headroom", cells([&](std::uint32_t tier) { return size_cell(plan.tiers[tier].headroom); }));
  return table.text();
}

std::string placement_line(const model::Program& program, const Plan& plan) {
  if (plan.tiers.size() < 3) return {};  // no GPU
  const LayersOnGpu layers = layers_on_gpu(program, plan);
  std::string line = fmt::format("on the GPU{}: {} of {} layers", plan.tiers.size() > 3 ? "s" : "", layers.whole,
                                 program.config.layers + 1);
  if (layers.feed_forward > 0) line += fmt::format(", and the feed-forward of {} more", layers.feed_forward);
  if (layers.attention > 0) line += fmt::format(", and the attention of {} more", layers.attention);
  return line + "\n";
}

std::string prompt_line(const model::Program& program, const Plan& plan) {
  const PromptStream& prompt = plan.prompt;
  if (prompt.tokens == 0) return {};
  const auto layers = [&](model::GroupKind kind) {
    const auto count = static_cast<std::size_t>(
        std::ranges::count_if(prompt.groups, [&](std::uint32_t group) { return program.groups[group].kind == kind; }));
    return fmt::format("{} layer{}", count, count == 1 ? "" : "s");
  };
  const bool attention = std::ranges::any_of(
      prompt.groups, [&](std::uint32_t group) { return program.groups[group].kind == model::GroupKind::Attention; });
  return fmt::format("prompts of {} tokens and more: the feed-forward of {}{} in RAM through GPU {}\n", prompt.tokens,
                     layers(model::GroupKind::FeedForward),
                     attention ? " and the attention's projections of " + layers(model::GroupKind::Attention) : "",
                     prompt.device - 1);
}

std::string prediction_lines(const Plan& plan) {
  const Prediction& p = plan.prediction;
  std::string text =
      fmt::format("predicted: prompt {} · generation {} (bound by {}) · load {:.1f} s\n", rate_text(p.prompt_rate),
                  rate_text(p.generation_rate), p.generation_bound, p.load_seconds);
  if (!plan.stream.empty()) {
    text += fmt::format("every token reads {} from disk, since RAM does not hold the model\n",
                        to_string(streamed_bytes(plan)));
  }
  return text;
}

}  // namespace

std::string summary_line(const Plan& plan, std::string_view title) {
  std::string places;
  for (std::uint32_t tier = 0; tier < plan.tiers.size(); ++tier) {
    const Bytes total = tier_total(plan, tier);
    if (total.value == 0) continue;
    places += fmt::format("{}{} {} {}", places.empty() ? "" : ", ", to_string(total), tier == kCpu ? "in" : "on",
                          plan.tiers[tier].name);
  }
  std::string line = fmt::format("{} · {} · context {}", title, places, plan.shape.context);
  if (!plan.stream.empty()) line += fmt::format(" · {} read from disk per token", to_string(streamed_bytes(plan)));
  return line;
}

std::string plan_table(const gguf::Model& model, const model::Program& program, const Plan& plan,
                       const std::vector<std::string>& notes, const std::vector<std::string>& assumed,
                       const RenderOptions& options) {
  const Shape& shape = plan.shape;
  const std::string k = lower_case(quant::name_of(shape.k_type));  // as -ctk and -ctv are written
  const std::string v = lower_case(quant::name_of(shape.v_type));
  std::string text = model_line(model, program) + "\n";
  text +=
      fmt::format("context {}{} · batch {} · KV cache {} · {} thread{}\n", shape.context,
                  shape.sequences > 1 ? fmt::format(" for {} sequences", shape.sequences) : std::string(), shape.batch,
                  k == v ? k : fmt::format("{} and {}", k, v), shape.threads, shape.threads == 1 ? "" : "s");
  for (const std::string& note : notes) text += note + "\n";
  text += "\n" + memory_table(model, program, plan, options) + "\n";
  text += placement_line(program, plan);
  text += prompt_line(program, plan);
  text += prediction_lines(plan);
  if (!assumed.empty()) {
    text += "assumed: ";
    for (std::size_t i = 0; i < assumed.size(); ++i) text += (i > 0 ? ", " : "") + printable(assumed[i], 80);
    text += " (`loadline devices --measure` measures)\n";
  }
  return text;
}

std::string region_lines(const Plan& plan) {
  std::string text;
  for (const Region& region : plan.regions) {
    const Arena& arena = plan.arenas[region.arena];
    text += fmt::format("  {:<20} {:<9} {:>14} {:>13}  {}{}\n", printable(plan.tiers[arena.tier].name, 20),
                        name_of(region.purpose), region.offset.value, region.size.value, printable(region.name),
                        region.layout != Layout::File ? " (repacked)" : "");
  }
  return text;
}

}  // namespace loadline::plan
