// What the kernel's files say is read as it is meant, and whatever else they say as nothing.
#include "watch/sources.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>

#include "support/test_data.h"
#include "watch/parse.h"
#include "watch/pass_source.h"

namespace loadline::watch {
namespace {

namespace fs = std::filesystem;

TEST(Parse, reads_the_times_of_processors) {
  const auto times = parse_processor_times("cpu  100 20 30 4000 5 6 7 80 9 9\ncpu0 1 2\ncpu1 3 4\nintr 5\n");
  ASSERT_TRUE(times);
  EXPECT_DOUBLE_EQ(times->busy, 1.63);
  EXPECT_DOUBLE_EQ(times->stolen, 0.8);
  EXPECT_EQ(times->processors, 2U);
}

TEST(Parse, reads_a_process_whatever_its_name) {
  const std::string rest = " S 1 2 3 4 5 6 7 8 77 10 250 50 13 14";
  for (const char* name : {"loadline", "a) S 9 9 9 9 9", "(((", "x y"}) {
    const auto times = parse_process_times("12 (" + std::string(name) + ")" + rest);
    ASSERT_TRUE(times) << name;
    EXPECT_EQ(times->major_faults, 77U) << name;
    EXPECT_DOUBLE_EQ(times->ran, 3.0) << name;
  }
}

TEST(Parse, reads_pressure_with_and_without_a_line_for_all) {
  const auto both = parse_pressure(
      "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n");
  ASSERT_TRUE(both);
  EXPECT_DOUBLE_EQ(both->some, 2.5);
  EXPECT_DOUBLE_EQ(both->full, 1.0);
  EXPECT_DOUBLE_EQ(parse_pressure("some avg10=0.00 total=2500000\n")->full, 0);
  EXPECT_FALSE(parse_pressure(""));
}

TEST(Parse, finds_the_disk_by_its_number) {
  const std::string text = "   7       0 loop0 0 0 0 0 0\n 254       0 vda 387 34 20964 847 160017 1\n";
  const auto disk = parse_disk(text, 254, 0);
  ASSERT_TRUE(disk);
  EXPECT_EQ(disk->reads, 387U);
  EXPECT_EQ(disk->read, Bytes(20964 * 512));
  EXPECT_DOUBLE_EQ(*disk->reading, 0.847);
  EXPECT_FALSE(parse_disk(text, 254, 1));
}

TEST(Parse, reads_values_with_their_units) {
  EXPECT_EQ(parse_value("VmSwap:\t      12 kB\n", "VmSwap"), 12U * 1024);
  EXPECT_EQ(parse_value("high 3\nmax 17\n", "max"), 17U);
  EXPECT_EQ(parse_value("maximum 3\n", "max"), std::nullopt);
  EXPECT_EQ(parse_value("max many\n", "max"), std::nullopt);
  EXPECT_EQ(parse_whole("max\n"), std::nullopt);
}

TEST(Parse, reads_what_drivers_say_of_a_client) {
  const auto amd = parse_graphics_client(
      "pos:\t0\ndrm-driver:\tamdgpu\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t7\ndrm-memory-vram:\t2048 KiB\n"
      "drm-memory-gtt: \t1024 KiB\n");
  ASSERT_TRUE(amd);
  EXPECT_EQ(amd->device, "0000:03:00.0");
  EXPECT_EQ(amd->in_device, 2 * kMiB);
  EXPECT_EQ(amd->in_system, kMiB);
  const auto intel = parse_graphics_client(
      "drm-driver: xe\ndrm-pdev: 0000:00:02.0\ndrm-client-id: 9\ndrm-total-vram0: 4 MiB\ndrm-resident-vram0: 3 MiB\n"
      "drm-resident-system0: 8 MiB\n");
  ASSERT_TRUE(intel);
  EXPECT_EQ(intel->in_device, 3 * kMiB);
  EXPECT_EQ(intel->in_system, 8 * kMiB);
  EXPECT_FALSE(parse_graphics_client("pos: 0\nflags: 02\n"));
}

TEST(Parse, reads_the_level_with_the_star) {
  const auto levels = parse_clock_levels("0: 500Mhz\n1: 1500Mhz *\n2: 2400Mhz\n");
  ASSERT_TRUE(levels);
  EXPECT_DOUBLE_EQ(levels->now, 1.5e9);
  EXPECT_DOUBLE_EQ(levels->most, 2.4e9);
}

// Whatever the bytes, something is read or nothing; sanitizers watch.
void parse_everything(std::string_view text) {
  (void)parse_processor_times(text);
  (void)parse_process_times(text);
  (void)parse_task_times(text);
  (void)parse_pressure(text);
  (void)parse_disk(text, 254, 0);
  (void)parse_value(text, "max");
  (void)parse_whole(text);
  (void)parse_graphics_client(text);
  (void)parse_clock_levels(text);
}

RC_GTEST_PROP(Parse, survives_any_bytes, (const std::string& text)) { parse_everything(text); }

RC_GTEST_PROP(Parse, survives_words_of_the_kernel_in_any_order, ()) {
  const auto word =
      rc::gen::element<std::string>("cpu", "cpu0", "some", "full", "total=", "total=12", "max", "254", "0", "vda", ":",
                                    "drm-driver:", "drm-pdev:", "drm-memory-vram:", "kB", "MiB", "99999999999999999999",
                                    "18446744073709551615", "-1", "*", "1:", "500Mhz", "(", ")", "\n", "\t", "\0");
  std::string text;
  for (const std::string& one : *rc::gen::container<std::vector<std::string>>(word)) text += one + " ";
  parse_everything(text);
}

RC_GTEST_PROP(Parse, reads_the_numbers_that_were_written,
              (std::uint32_t reads, std::uint32_t sectors, std::uint32_t ms)) {
  const auto disk = parse_disk(
      " 8 1 sda1 " + std::to_string(reads) + " 0 " + std::to_string(sectors) + " " + std::to_string(ms), 8, 1);
  RC_ASSERT(disk.has_value());
  RC_ASSERT(*disk->reads == reads);
  RC_ASSERT(disk->read->value == std::uint64_t{sectors} * 512);
}

// A machine's /proc and /sys.
class Sources : public testing::Test {
 protected:
  void write(const fs::path& path, const std::string& text) {
    fs::create_directories((root() / path).parent_path());
    std::ofstream(root() / path) << text;
  }
  [[nodiscard]] fs::path root() const { return folder_.path(); }
  static Sample read(Source& source) {
    Sample sample;
    source.read(sample);
    return sample;
  }

 private:
  test::TemporaryFolder folder_;
};

TEST_F(Sources, say_how_long_threads_waited_for_a_processor) {
  write("proc/self/task/1/schedstat", "2000000000 500000000 7\n");
  write("proc/self/task/2/schedstat", "1000000000 250000000 7\n");
  write("proc/self/status", "RssAnon:\t1024 kB\nRssShmem:\t1024 kB\nVmSwap:\t0 kB\n");
  const auto source = process_source(root());
  Sample sample = read(*source);
  EXPECT_DOUBLE_EQ(*sample.process.ran, 3);
  EXPECT_DOUBLE_EQ(*sample.process.waited, 0.75);
  EXPECT_EQ(sample.process.held, 2 * kMiB);
  write("proc/self/task/2/schedstat", "1000000000 1250000000 7\n");
  EXPECT_DOUBLE_EQ(*read(*source).process.waited, 1.75) << "read anew each time";
}

TEST_F(Sources, say_nothing_where_there_is_nothing) {
  watch::Sources all;
  all.push_back(process_source(root()));
  all.push_back(machine_source(root()));
  all.push_back(group_source(root()));
  all.push_back(processor_source(root()));
  all.push_back(disk_source(root(), 8, 0));
  WatchedGpu gpu;
  gpu.device = 1;
  gpu.bus_address = "0000:03:00.0";
  all.push_back(amdgpu_source(root(), gpu));
  all.push_back(graphics_client_source(root(), gpu));
  std::size_t missing = 0;
  for (const auto& source : all) {
    const Sample sample = read(*source);
    EXPECT_FALSE(sample.process.waited || sample.machine.busy || sample.group.limit || sample.processor.clock ||
                 sample.disk.reads || sample.gpus[1].used || sample.gpus[1].own);
    missing += source->missing().size();
  }
  EXPECT_EQ(missing, 4U) << "waiting, pressure, clocks and temperatures are named";
}

TEST_F(Sources, read_control_groups_of_both_versions) {
  write("proc/self/cgroup", "4:memory:/a/b\n2:cpu:/a\n");
  write("proc/self/mountinfo",
        "1 1 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n2 1 0:2 / /cg/cpu rw - cgroup cgroup rw,cpu\n");
  write("cg/memory/a/b/memory.limit_in_bytes", "3000\n");
  write("cg/memory/a/b/memory.usage_in_bytes", "1000\n");
  write("cg/memory/a/b/memory.stat", "total_inactive_file 300\ntotal_active_file 100\n");
  write("cg/memory/a/b/memory.failcnt", "5\n");
  write("cg/memory/a/memory.limit_in_bytes", "2000\n");
  write("cg/memory/a/memory.usage_in_bytes", "1500\n");
  write("cg/cpu/a/cpu.stat", "nr_throttled 3\nthrottled_time 1500000000\n");
  const Sample first = read(*group_source(root()));
  EXPECT_EQ(first.group.limit, Bytes(2000)) << "the tighter one";
  EXPECT_EQ(first.group.used, Bytes(1500));
  EXPECT_EQ(first.group.full, 5U);
  EXPECT_DOUBLE_EQ(*first.group.held_back, 1.5);

  write("proc/self/cgroup", "0::/c\n");
  write("proc/self/mountinfo", "1 1 0:1 / /cg2 rw - cgroup2 cgroup2 rw\n");
  write("cg2/c/memory.max", "max\n");
  write("cg2/c/memory.high", "5000\n");
  write("cg2/c/memory.current", "4000\n");
  write("cg2/c/memory.stat", "inactive_file 500\n");
  write("cg2/c/memory.events", "low 9\nhigh 3\nmax 4\noom 0\n");
  write("cg2/c/cpu.stat", "throttled_usec 2500000\n");
  const Sample second = read(*group_source(root()));
  EXPECT_EQ(second.group.limit, Bytes(5000));
  EXPECT_EQ(second.group.used, Bytes(3500));
  EXPECT_EQ(second.group.full, 7U);
  EXPECT_DOUBLE_EQ(*second.group.held_back, 2.5);
}

TEST_F(Sources, read_clocks_and_temperatures) {
  for (const char* cpu : {"cpu0", "cpu1"}) {
    const fs::path folder = fs::path("sys/devices/system/cpu") / cpu;
    write(folder / "cpufreq/scaling_cur_freq", cpu[3] == '0' ? "2000000\n" : "3000000\n");
    write(folder / "cpufreq/cpuinfo_max_freq", "4000000\n");
    write(folder / "thermal_throttle/package_throttle_total_time_ms", "1500\n");
  }
  write("sys/class/hwmon/hwmon2/name", "coretemp\n");
  write("sys/class/hwmon/hwmon2/temp1_input", "95000\n");
  write("sys/class/hwmon/hwmon2/temp1_crit", "100000\n");
  const Sample sample = read(*processor_source(root()));
  EXPECT_DOUBLE_EQ(*sample.processor.clock, 2.5e9);
  EXPECT_DOUBLE_EQ(*sample.processor.most_clock, 4e9);
  EXPECT_DOUBLE_EQ(*sample.processor.slowed, 1.5);
  EXPECT_DOUBLE_EQ(*sample.processor.temperature, 95);
  EXPECT_DOUBLE_EQ(*sample.processor.hot, 100);
}

TEST_F(Sources, read_what_amdgpu_says_of_a_card) {
  const fs::path card = "sys/bus/pci/devices/0000:03:00.0";
  write(card / "mem_info_vram_total", "8589934592\n");
  write(card / "mem_info_vram_used", "4294967296\n");
  write(card / "mem_info_gtt_used", "1048576\n");
  write(card / "pp_dpm_sclk", "0: 500Mhz\n1: 2000Mhz *\n");
  write(card / "hwmon/hwmon4/temp1_input", "71000\n");
  write("proc/self/fdinfo/7", "drm-driver: amdgpu\ndrm-pdev: 0000:03:00.0\ndrm-client-id: 7\ndrm-memory-vram: 3 MiB\n");
  write("proc/self/fdinfo/8", "drm-driver: amdgpu\ndrm-pdev: 0000:03:00.0\ndrm-client-id: 7\ndrm-memory-vram: 3 MiB\n");
  write("proc/self/fdinfo/9", "drm-driver: amdgpu\ndrm-pdev: 0000:04:00.0\ndrm-client-id: 8\ndrm-memory-vram: 9 MiB\n");
  WatchedGpu gpu;
  gpu.device = 2;
  gpu.bus_address = "0000:03:00.0";
  Sample sample;
  amdgpu_source(root(), gpu)->read(sample);
  graphics_client_source(root(), gpu)->read(sample);
  const GpuSample& card_sample = sample.gpus[2];
  EXPECT_EQ(card_sample.total, 8 * kGiB);
  EXPECT_EQ(card_sample.used, 4 * kGiB);
  EXPECT_EQ(card_sample.moved, kMiB);
  EXPECT_DOUBLE_EQ(*card_sample.clock, 2e9);
  EXPECT_DOUBLE_EQ(*card_sample.temperature, 71);
  EXPECT_EQ(card_sample.own, 3 * kMiB) << "a client with two files counts once";
}

TEST(PassSource, leaves_out_the_first_passes_and_compares_the_others) {
  exec::PassLog log;
  double now = 10;
  const auto add = [&](double seconds) {
    exec::PassRecord pass;
    pass.began = now;
    pass.seconds = seconds;
    pass.tokens = pass.sequences = pass.outputs = 1;
    pass.busy[0] = seconds;
    log.begin(pass);
    now += seconds;
    log.end(pass, true);
  };
  const auto source =
      pass_source(log, [](const plan::PassLoad&) { return plan::PassSeconds{{0.1}, 0, 0, 0.1}; }, [&] { return now; });
  Sample sample;
  add(5);
  add(4);
  source->read(sample);
  EXPECT_EQ(sample.passes.passes, 0U);
  for (int i = 0; i < 100; ++i) add(0.2);
  source->read(sample);
  EXPECT_EQ(sample.passes.passes, 100U);
  EXPECT_NEAR(sample.passes.seconds, 20, 1e-9);
  EXPECT_NEAR(sample.passes.predicted, 10, 1e-9) << "some stand for all";
  EXPECT_NEAR(sample.passes.device_seconds[0], 20, 1e-9);
  exec::PassRecord running;
  running.began = now;
  running.tokens = running.sequences = 1;
  log.begin(running);
  now += 3;
  source->read(sample);
  EXPECT_NEAR(sample.passes.running, 3, 1e-9);
  EXPECT_NEAR(sample.passes.running_predicted, 0.1, 1e-9);
  log.end(running, false);
  source->read(sample);
  EXPECT_EQ(sample.passes.running, 0);
  EXPECT_EQ(sample.passes.passes, 0U) << "a stopped pass";
}

TEST(PassLog, keeps_passes_of_many_tokens_however_many_of_one_follow) {
  exec::PassLog log;
  const auto add = [&](std::uint64_t tokens) {
    exec::PassRecord pass;
    pass.tokens = tokens;
    log.begin(pass);
    log.end(pass, true);
  };
  for (std::uint64_t tokens = 20; tokens < 40; ++tokens) add(tokens);
  for (int i = 0; i < 100; ++i) add(1);
  std::array<exec::PassRecord, 3> records;
  ASSERT_EQ(log.read_large(records), 3U);
  EXPECT_EQ(records[0].tokens, 37U);
  EXPECT_EQ(records[2].tokens, 39U) << "the latest last";
}

}  // namespace
}  // namespace loadline::watch
