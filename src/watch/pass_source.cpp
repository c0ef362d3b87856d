#include "watch/pass_source.h"

#include <algorithm>
#include <array>

namespace loadline::watch {
namespace {

class PassSource final : public Source {
 public:
  PassSource(const exec::PassLog& log, PassPrediction prediction, std::function<double()> now)
      : log_(log), prediction_(std::move(prediction)), now_(std::move(now)), seen_(log.totals()) {}

  void read(Sample& sample) override {
    PassSample& passes = sample.passes;
    passes = {};
    read_completed(passes);
    exec::PassRecord running;
    // One that runs may be among the first.
    if (seen_.passes >= kFirstPasses && log_.running(running)) {
      passes.running = std::max(0.0, now_() - running.began);
      passes.running_predicted = predict(running).total;
      passes.running_tokens = static_cast<double>(running.tokens);
    }
  }

 private:
  [[nodiscard]] plan::PassSeconds predict(const exec::PassRecord& pass) const {
    return prediction_({pass.tokens, std::max<std::uint64_t>(1, pass.outputs), pass.sequences, pass.depth});
  }

  // Of many short passes some are looked at, for all.
  void read_completed(PassSample& passes) {
    std::array<exec::PassRecord, 16> records;
    const std::size_t count = log_.read(seen_.passes, records);
    const exec::PassTotals before = std::exchange(seen_, log_.totals());
    if (count == 0 || before.passes < kFirstPasses) return;
    double took = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const exec::PassRecord& pass = records[i];
      const plan::PassSeconds expected = predict(pass);
      took += pass.seconds;
      passes.predicted += expected.total;
      passes.waited += pass.waited;
      passes.disk += expected.disk;
      passes.tokens += static_cast<double>(pass.tokens) / static_cast<double>(count);
      const std::size_t devices = std::min(expected.devices.size(), passes.device_seconds.size());
      for (std::size_t d = 0; d < devices; ++d) {
        passes.device_seconds[d] += pass.busy[d];
        passes.device_predicted[d] += expected.devices[d];
      }
    }
    passes.passes = seen_.passes - before.passes;
    passes.seconds = seen_.seconds - before.seconds;
    const double all = took > 0 ? passes.seconds / took : 0;
    for (double* figure : {&passes.predicted, &passes.waited, &passes.disk}) *figure *= all;
    for (double& seconds : passes.device_seconds) seconds *= all;
    for (double& seconds : passes.device_predicted) seconds *= all;
  }

  const exec::PassLog& log_;
  PassPrediction prediction_;
  std::function<double()> now_;
  exec::PassTotals seen_;
};

}  // namespace

std::unique_ptr<Source> pass_source(const exec::PassLog& log, PassPrediction prediction, std::function<double()> now) {
  return std::make_unique<PassSource>(log, std::move(prediction), std::move(now));
}

}  // namespace loadline::watch
