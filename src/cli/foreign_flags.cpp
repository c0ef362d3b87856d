#include "cli/foreign_flags.h"

#include <algorithm>
#include <array>

namespace loadline::cli {
namespace {

using enum ForeignValue;

constexpr std::string_view kAlways = "it is always so here";
constexpr std::string_view kPlanned = "the plan decides what goes where";
constexpr std::string_view kLoading = "the plan decides how weights are read and held";
constexpr std::string_view kThreads = "-t says how many threads compute, and the system where they run";
constexpr std::string_view kLooks = "there is nothing like it here";
constexpr std::string_view kChangesModel = "it changes the model";
constexpr std::string_view kChangesSampling = "it changes which tokens are chosen";
constexpr std::string_view kChangesContext = "it changes what the model sees";
constexpr std::string_view kFetches = "models are named by their file, with -m";
constexpr std::string_view kDrafts = "there are no draft models; --speculate ngram guesses from the text";

// The flags of llama-cli, llama-server and llama-bench (tools/*/README.md of github.com/ggml-org/llama.cpp).
constexpr std::array kFlags = std::to_array<ForeignFlag>({
    {"-fa --flash-attn", Maybe, true, "attention never stores its whole matrix here"},
    {"-tb --threads-batch -Cb --cpu-mask-batch -Crb --cpu-range-batch --prio-batch --poll-batch", One, true, kThreads},
    {"-C --cpu-mask -Cr --cpu-range --cpu-strict --cpu-strict-batch --prio --poll --numa", One, true, kThreads},
    {"-sm --split-mode -ts --tensor-split -mg --main-gpu -fit --fit -fitt --fit-target -fitc --fit-ctx", One, true,
     kPlanned},
    {"--mlock --mmap --no-mmap -dio --direct-io -ndio --no-direct-io --no-host --repack -nr --no-repack", None, true,
     kLoading},
    {"-lm --load-mode", One, true, kLoading},
    {"--warmup --no-warmup --check-tensors -kvu --kv-unified -no-kvu --no-kv-unified -cb --cont-batching -nocb "
     "--no-cont-batching --swa-full --offline",
     None, true, kLooks},
    {"-dt --defrag-thold", One, true, kLooks},
    {"-no-cnv --no-conversation -st --single-turn --no-context-shift", None, true, kAlways},
    {"--color --log-colors", Maybe, true, kLooks},
    {"-co --simple-io --log-disable --log-prefix --log-timestamps --verbose-prompt --show-timings --no-show-timings "
     "--perf --no-perf -v --verbose",
     None, true, kLooks},
    {"-lv --verbosity --log-verbosity --log-file", One, true, kLooks},

    {"--lora --lora-scaled --lora-base --control-vector --control-vector-scaled --control-vector-layer-range", One,
     false, kChangesModel},
    {"-mm --mmproj -mmu --mmproj-url --image --audio --video", One, false, "models see and hear nothing here"},
    {"-md --model-draft --spec-draft-model -hfd --hf-repo-draft", One, false, kDrafts},
    {"-mu --model-url -hf -hfr --hf-repo -hff --hf-file -hft --hf-token -dr --docker-repo", One, false, kFetches},
    {"--samplers --sampler-seq --sampling-seq --dynatemp-range --dynatemp-exp --mirostat --mirostat-lr --mirostat-ent "
     "--mirostat-tau --xtc-probability --xtc-threshold --dry-multiplier --dry-base --dry-allowed-length "
     "--dry-penalty-last-n --dry-sequence-breaker --top-nsigma --top-n-sigma --adaptive-target --adaptive-decay "
     "--logit-bias-file --grammar --grammar-file -j --json-schema -jf --json-schema-file",
     One, false, kChangesSampling},
    {"-bs --backend-sampling", None, false, kChangesSampling},
    {"--keep -gan --grp-attn-n -gaw --grp-attn-w --in-prefix --in-suffix -r --reverse-prompt -sys --system-prompt "
     "-sysf --system-prompt-file --chat-template --chat-template-file --chat-template-kwargs --prompt-cache "
     "--attention --pooling",
     One, false, kChangesContext},
    {"--jinja --no-jinja --prompt-cache-all --prompt-cache-ro --context-shift --in-prefix-bos", None, false,
     kChangesContext},
    {"-cnv --conversation -i --interactive -if --interactive-first -mli --multiline-input", None, false,
     "this command continues one text"},
    {"--rpc", One, false, "it computes on other machines"},
});

bool has_name(const ForeignFlag& flag, std::string_view name) {
  std::string_view rest = flag.names;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    if (rest.substr(0, end) == name) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace

const ForeignFlag* find_foreign_flag(std::string_view name) {
  const auto* const found = std::ranges::find_if(kFlags, [&](const ForeignFlag& flag) { return has_name(flag, name); });
  return found == kFlags.end() ? nullptr : found;
}

bool is_switch_word(std::string_view word) {
  constexpr auto kWords =
      std::to_array<std::string_view>({"on", "off", "auto", "enabled", "disabled", "true", "false", "1", "0"});
  return std::ranges::find(kWords, word) != kWords.end();
}

}  // namespace loadline::cli
