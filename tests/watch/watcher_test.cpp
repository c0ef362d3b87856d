// The thread samples, tells what begins and ends, and goes when it is told to.
#include "watch/watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <future>

#include "watch/report.h"
#include "watch/scenario.h"

namespace loadline::watch {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A machine whose processors others take from the tenth sample on until the fortieth. Its clock is its own: a quarter
// of a second for each sample.
class FakeMachine final : public Source {
 public:
  void read(Sample& sample) override {
    ++samples_;
    const bool taken = samples_ >= 10 && samples_ < 40;
    ran_ += 0.3;
    waited_ += taken ? 0.3 : 0;
    busy_ += taken ? 0.5 : 0.3;
    sample.time = sample.wall_time = 0.25 * samples_;
    sample.process.ran = ran_;
    sample.process.waited = waited_;
    sample.machine.processors = 2;
    sample.machine.busy = busy_;
    sample.passes.passes = taken ? 2 : 4;
    sample.passes.seconds = 0.2;
    sample.passes.predicted = taken ? 0.1 : 0.2;
    sample.passes.tokens = 1;
  }
  [[nodiscard]] std::vector<std::string> missing() const override { return {"clocks"}; }

 private:
  int samples_ = 0;
  double ran_ = 0, waited_ = 0, busy_ = 0;
};

Watcher::Options fake_options() {
  Watcher::Options options;
  options.sources.push_back(std::make_unique<FakeMachine>());
  options.promise = test::Scenario::usual_promise();
  options.period = std::chrono::milliseconds(1);
  return options;
}

TEST(Watcher, tells_what_begins_and_ends_and_remembers_it) {
  std::promise<Change> begun;
  std::promise<Change> ended;
  Watcher::Options options = fake_options();
  options.on_change = [&](const Change& change) { (change.begins ? begun : ended).set_value(change); };
  const Watcher watcher(std::move(options));
  EXPECT_EQ(begun.get_future().get().verdict.kind, Kind::Starved);
  EXPECT_EQ(ended.get_future().get().verdict.kind, Kind::Starved);
  const Status status = watcher.status();
  ASSERT_EQ(status.events.size(), 2U);
  EXPECT_TRUE(status.events[0].change.begins);
  EXPECT_FALSE(status.events[1].change.begins);
  EXPECT_TRUE(status.verdicts.empty());
  EXPECT_THAT(status.missing, testing::ElementsAre("clocks"));

  const json said = json::parse(to_json(status));
  EXPECT_EQ(said["degraded"], false);
  EXPECT_GT(said["lost"]["starved"], 0.01);
  EXPECT_EQ(said["events"][0]["kind"], "starved");
  EXPECT_THAT(said["events"][0]["figures"].dump(), HasSubstr("waited_share"));
  const std::string text = metrics(status);
  EXPECT_THAT(text, HasSubstr("loadline_watch_verdict{kind=\"starved\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("loadline_watch_lost_seconds_total{kind=\"starved\"} "));
}

TEST(Watcher, ends_with_its_owner_whatever_it_is_doing) {
  for (int i = 0; i < 20; ++i) {
    const Watcher watcher(fake_options());
  }
}

TEST(Watcher, outlives_an_owner_that_does_not_want_to_hear) {
  std::promise<void> told;
  Watcher::Options options = fake_options();
  options.on_change = [&](const Change&) {
    told.set_value();
    throw std::runtime_error("no");
  };
  const Watcher watcher(std::move(options));
  told.get_future().get();
}

}  // namespace
}  // namespace loadline::watch
