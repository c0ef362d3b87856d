// Each trouble from the files and libraries in which a machine tells of it to the verdict: the sources read a folder
// that looks like a machine's /proc and /sys, and passes are what a device does whose stage can be delayed. The clock
// is the test's.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "hardware/fake_nvml.h"
#include "support/test_data.h"
#include "watch/judge.h"
#include "watch/pass_source.h"
#include "watch/sources.h"

namespace loadline::watch {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kSoon = 8;  // samples
const fs::path kCard = "sys/bus/pci/devices/0000:03:00.0";

// Two processors and a card, on which passes of one token take 40 ms, half of it on the card.
class Machine : public testing::Test {
 protected:
  void SetUp() override {
    write("proc/self/task/1/schedstat", "0 0 0\n");
    write_processors();
    write("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
    write_group(8 * kGiB, 2 * kGiB);
    write("proc/self/status", "RssAnon:\t1048576 kB\nRssShmem:\t0 kB\nVmSwap:\t0 kB\n");
    write_faults();
    clock("3000000");
    write(fs::path("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"), "3600000\n");
    write("sys/class/hwmon/hwmon2/name", "k10temp\n");
    write("sys/class/hwmon/hwmon2/temp1_input", "61000\n");
    write(kCard / "mem_info_vram_total", std::to_string((8 * kGiB).value));
    write(kCard / "mem_info_vram_used", std::to_string((2 * kGiB).value));
    write(kCard / "mem_info_gtt_used", std::to_string((64 * kMiB).value));
    write(kCard / "pp_dpm_sclk", "0: 500Mhz\n1: 2000Mhz *\n");
    write_disk();
  }

  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((folder_.path() / path).parent_path());
    std::ofstream(folder_.path() / path) << text;
  }
  void clock(const std::string& kilohertz) {
    write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", kilohertz + "\n");
  }
  void write_group(Bytes limit, Bytes used) {
    write("proc/self/cgroup", "0::/c\n");
    write("proc/self/mountinfo", "1 1 0:1 / /cg2 rw - cgroup2 cgroup2 rw\n");
    write("cg2/c/memory.max", "max\n");
    write("cg2/c/memory.high", std::to_string(limit.value) + "\n");
    write("cg2/c/memory.current", std::to_string(used.value) + "\n");
    write("cg2/c/memory.stat", "inactive_file 0\n");
    write("cg2/c/memory.events", "high " + std::to_string(times_full_) + "\nmax 0\n");
  }

  // Begins to watch. `budget`: what the driver lets this process have of the card.
  void begin(Promise promise = usual()) {
    judge_.emplace(std::move(promise));
    SourceOptions options;
    options.root = folder_.path();
    WatchedGpu gpu;
    gpu.device = 1;
    gpu.bus_address = "0000:03:00.0";
    gpu.memory_use = [this] { return memory_use_; };
    options.gpus = {gpu};
    sources_ = system_sources(options);
    sources_.push_back(disk_source(options.root, 8, 0));
    sources_.push_back(pass_source(
        log_, [](const plan::PassLoad&) { return plan::PassSeconds{{0.02, 0.02}, 0, 0, 0.04}; },
        [this] { return time_; }));
    EXPECT_THAT(run(24), IsEmpty()) << "nothing is wrong";
  }
  static Promise usual() {
    Promise promise;
    promise.devices = {{"RAM", kGiB, 512 * kMiB, 20e9, 0}, {"Card", kGiB, 800 * kMiB, 200e9, 10e9}};
    promise.disk_bandwidth = 1e9;
    return promise;
  }

  // What passes take now, and what else happens in a quarter of a second.
  double on_processor_ = 0.02, on_card_ = 0.02;  // s of a pass
  double waited_for_disk_ = 0;                   // s of a pass
  double ran_ = 0.2, waited_ = 0, others_ = 0;   // s
  int faults_ = 0, full_ = 0, reads_ = 0;
  std::optional<backend::MemoryUse> memory_use_ = backend::MemoryUse{7 * kGiB, kGiB};

  // The kinds that began within so many samples.
  std::vector<Kind> run(int samples) {
    std::vector<Kind> began;
    for (int i = 0; i < samples; ++i) {
      advance();
      Sample sample;
      sample.time = sample.wall_time = time_;
      for (const auto& source : sources_) source->read(sample);
      for (const Change& change : judge_->take(sample)) {
        if (!change.begins) continue;
        began.push_back(change.verdict.kind);
        said_ = line(change.verdict);
      }
    }
    return began;
  }
  [[nodiscard]] const std::string& said() const { return said_; }

 private:
  void write_processors() {
    // In hundredths of a second: user, nice, system, idle, iowait, irq, softirq, steal.
    write("proc/stat",
          "cpu  " + std::to_string(static_cast<int>(100 * busy_)) + " 0 0 100000 0 0 0 0 0 0\ncpu0 1 2\ncpu1 3 4\n");
    write("proc/self/task/1/schedstat", std::to_string(static_cast<std::uint64_t>(1e9 * has_run_)) + " " +
                                            std::to_string(static_cast<std::uint64_t>(1e9 * has_waited_)) + " 7\n");
  }
  void write_faults() {
    write("proc/self/stat", "12 (loadline) S 1 2 3 4 5 6 7 8 " + std::to_string(all_faults_) + " 10 250 50 13 14");
  }
  void write_disk() {
    write("proc/diskstats", " 8 0 sda " + std::to_string(all_reads_) + " 0 " + std::to_string(8 * all_reads_) + " " +
                                std::to_string(40 * all_reads_) + " 0 0\n");
  }
  void advance() {
    constexpr double kStep = 0.25;
    has_run_ += ran_;
    has_waited_ += waited_;
    busy_ += ran_ + others_;
    all_faults_ += faults_;
    all_reads_ += reads_;
    if (full_ > 0) {
      times_full_ += full_;
      write_group(8 * kGiB, 8 * kGiB - kMiB);
    }
    write_processors();
    write_faults();
    write_disk();
    const double pass = on_processor_ + on_card_ + waited_for_disk_;
    for (const double end = time_ + kStep; pass_began_ + pass <= end; pass_began_ += pass) {
      exec::PassRecord record;
      record.began = pass_began_;
      record.seconds = pass;
      record.tokens = record.sequences = record.outputs = record.depth = 1;
      record.busy[0] = on_processor_ + waited_for_disk_;
      record.busy[1] = on_card_;
      record.waited = waited_for_disk_;
      log_.begin(record);
      log_.end(record, true);
    }
    time_ += kStep;
  }

  test::TemporaryFolder folder_;
  exec::PassLog log_;
  std::optional<Judge> judge_;
  watch::Sources sources_;
  double time_ = 1000, pass_began_ = 1000;  // s
  double busy_ = 100, has_run_ = 0, has_waited_ = 0;
  int all_faults_ = 0, times_full_ = 0, all_reads_ = 0;
  std::string said_;
};

using Provoked = Machine;

TEST_F(Provoked, a_stage_that_is_delayed_for_no_reason_is_a_wrong_prediction) {
  begin();
  on_processor_ = 0.12;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Mispredicted));
  EXPECT_THAT(said(), HasSubstr("nothing on the machine explains it"));
}

TEST_F(Provoked, memory_of_a_card_that_amdgpu_moves_to_the_system_is_spilled) {
  begin();
  write(kCard / "mem_info_gtt_used", std::to_string((700 * kMiB).value));
  on_card_ = 0.15;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Spilled));
  EXPECT_THAT(said(), HasSubstr("636 MiB of Card to system memory"));
}

TEST_F(Provoked, memory_over_the_drivers_budget_that_comes_at_the_speed_of_the_bus_is_spilled) {
  begin();
  memory_use_ = backend::MemoryUse{kGiB - 8 * kMiB, kGiB};  // little enough over it that it is no squeeze
  on_card_ = 0.1;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Spilled));
  EXPECT_THAT(said(), HasSubstr("the speed of the bus"));
}

TEST_F(Provoked, a_driver_that_allows_less_than_is_held_is_a_squeeze) {
  begin();
  memory_use_ = backend::MemoryUse{512 * kMiB, kGiB};
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Squeezed));
}

TEST_F(Provoked, a_limit_that_is_lowered_is_a_squeeze_and_one_that_is_met_again_and_again_thrashing) {
  begin();
  write_group(2 * kGiB + 4 * kMiB, 2 * kGiB);
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Squeezed));
  EXPECT_THAT(said(), HasSubstr("control group was lowered to 2.00 GiB"));
  full_ = 5;
  faults_ = 40;
  on_processor_ = 0.1;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Thrashing));
  EXPECT_THAT(said(), HasSubstr("its control group is full"));
}

TEST_F(Provoked, processors_that_others_have_starve_it) {
  begin();
  waited_ = 0.15;
  others_ = 0.2;
  on_processor_ = 0.05;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Starved));
}

TEST_F(Provoked, a_clock_that_falls_is_throttling) {
  begin();
  clock("1200000");
  write("sys/class/hwmon/hwmon2/temp1_input", "97000\n");
  on_processor_ = 0.05;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Throttled));
  EXPECT_THAT(said(), HasSubstr("at 97 °C, to 1200 MHz from 3000"));
}

TEST_F(Provoked, a_disk_that_gives_less_than_it_did_is_slow) {
  Promise promise = usual();
  promise.streamed = 20 * kMiB;
  begin(promise);
  waited_for_disk_ = 0.15;
  reads_ = 40;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::DiskSlow));
  EXPECT_THAT(said(), HasSubstr("a read takes 40.0 ms"));
}

// NVIDIA's library, as long as this lives.
class InstalledNvml {
 public:
  InstalledNvml() : library_(::dlopen(LOADLINE_FAKE_NVML, RTLD_NOW | RTLD_LOCAL)) {
    nvml_ = static_cast<test::FakeNvml*>(::dlsym(library_, "fake_nvml"));
    *nvml_ = {};
    nvml_->address = "00000000:03:00.0";
    nvml_->total = (8 * kGiB).value;
    nvml_->free = (6 * kGiB).value;
    nvml_->clock = 1900;
    nvml_->most_clock = 2000;
    nvml_->temperature = 60;
  }
  ~InstalledNvml() { ::dlclose(library_); }
  InstalledNvml(const InstalledNvml&) = delete;
  InstalledNvml& operator=(const InstalledNvml&) = delete;
  test::FakeNvml* operator->() const { return nvml_; }

 private:
  void* library_;
  test::FakeNvml* nvml_;
};

TEST_F(Provoked, what_nvml_says_of_heat_and_of_other_users_is_throttling_and_a_squeeze) {
  if (void* real = ::dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL); real != nullptr) {
    ::dlclose(real);
    GTEST_SKIP() << "this machine has the real library";
  }
  const InstalledNvml nvml;
  begin();
  nvml->reasons = 0x40;  // by heat
  nvml->clock = 600;
  nvml->temperature = 93;
  on_card_ = 0.05;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Throttled));
  EXPECT_THAT(said(), HasSubstr("Card slowed itself down at 93 °C, to 600 of 2000 MHz"));
  nvml->reasons = 0;
  on_card_ = 0.02;
  EXPECT_THAT(run(20), IsEmpty());
  nvml->free = (4 * kMiB).value;
  EXPECT_THAT(run(kSoon), ElementsAre(Kind::Squeezed));
}

}  // namespace
}  // namespace loadline::watch
