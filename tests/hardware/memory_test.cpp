// RAM as the planner sees it: what the kernel says is free, less what control groups do not grant.
#include <gtest/gtest.h>
#include <unistd.h>

#include "hardware/fake_machine.h"
#include "hardware/probe.h"

namespace loadline::hardware {
namespace {

const std::string kMachine =
    "MemTotal:       16777216 kB\nMemFree:  100 kB\nMemAvailable:   12582912 kB\n"
    "SwapTotal:       2097152 kB\nSwapFree:        1048576 kB";

class ProbeRam : public testing::Test {
 protected:
  void SetUp() override { machine_.write("proc/meminfo", kMachine); }

  // A hierarchy of version 1 with the group /jobs/ours.
  void use_version_1() const {
    machine_.write("proc/self/cgroup", "5:cpu,cpuacct:/jobs\n4:memory:/jobs/ours\n0::/");
    machine_.write("proc/self/mountinfo",
                   "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                   "36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct");
  }
  void use_version_2() const {
    machine_.write("proc/self/cgroup", "0::/jobs/ours");
    machine_.write("proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate");
  }

  test::FakeMachine machine_;
};

TEST_F(ProbeRam, without_a_control_group_everything_available_may_be_taken) {
  const Ram ram = probe_ram(machine_.root());
  EXPECT_EQ(ram.total, 16 * kGiB);
  EXPECT_EQ(ram.available, 12 * kGiB);
  EXPECT_EQ(ram.cgroup_limit, std::nullopt);
  EXPECT_EQ(ram.swap_total, 2 * kGiB);
  EXPECT_EQ(ram.swap_used, kGiB);
}

TEST_F(ProbeRam, what_this_process_holds_counts_as_available) {
  machine_.write("proc/self/status", "Name: loadline\nRssAnon:\t 1048576 kB");
  EXPECT_EQ(probe_ram(machine_.root()).available, 13 * kGiB);
}

// Memory does not cease to be held when it is swapped out; but room for it there is none then.
TEST_F(ProbeRam, what_is_swapped_out_is_held_and_not_available) {
  machine_.write("proc/self/status",
                 "RssAnon:\t 1024 kB\nRssFile:\t 77 kB\nRssShmem:\t 512 kB\nVmPTE:\t 256 kB\nVmSwap:\t 2048 kB");
  EXPECT_EQ(held_memory(machine_.root()), 3840 * kKiB);
  EXPECT_EQ(swapped_memory(machine_.root()), 2 * kMiB);
  EXPECT_EQ(probe_ram(machine_.root()).available, 12 * kGiB + kMiB);
}

TEST_F(ProbeRam, a_limit_of_version_1_less_what_others_hold_there) {
  use_version_1();
  const std::string group = "sys/fs/cgroup/memory/jobs/ours/";
  machine_.write(group + "memory.limit_in_bytes", std::to_string((4 * kGiB).value));
  machine_.write(group + "memory.usage_in_bytes", std::to_string((3 * kGiB).value));
  machine_.write(group + "memory.stat", "inactive_file 0\ntotal_inactive_file 1073741824\ntotal_active_file 536870912");
  const Ram ram = probe_ram(machine_.root());
  EXPECT_EQ(ram.cgroup_limit, 4 * kGiB);
  EXPECT_EQ(ram.available, 4 * kGiB - 1536 * kMiB) << "page cache gives way";
}

TEST_F(ProbeRam, a_limit_of_version_2_less_what_others_hold_there) {
  use_version_2();
  const std::string group = "sys/fs/cgroup/jobs/ours/";
  machine_.write(group + "memory.max", std::to_string((6 * kGiB).value));
  machine_.write(group + "memory.high", "max");
  machine_.write(group + "memory.current", std::to_string((2 * kGiB).value));
  machine_.write(group + "memory.stat", "anon 5\ninactive_file 536870912\nactive_file 0\nslab_reclaimable 536870912");
  const Ram ram = probe_ram(machine_.root());
  EXPECT_EQ(ram.cgroup_limit, 6 * kGiB);
  EXPECT_EQ(ram.available, 5 * kGiB);
}

TEST_F(ProbeRam, the_softer_limit_of_version_2_counts_where_it_is_lower) {
  use_version_2();
  machine_.write("sys/fs/cgroup/jobs/ours/memory.max", std::to_string((6 * kGiB).value));
  machine_.write("sys/fs/cgroup/jobs/ours/memory.high", std::to_string((5 * kGiB).value));
  EXPECT_EQ(probe_ram(machine_.root()).cgroup_limit, 5 * kGiB);
}

TEST_F(ProbeRam, a_group_around_ours_limits_it_too) {
  use_version_1();
  const std::string memory = "sys/fs/cgroup/memory/";
  machine_.write(memory + "jobs/ours/memory.limit_in_bytes", std::to_string((8 * kGiB).value));
  machine_.write(memory + "jobs/memory.limit_in_bytes", std::to_string((2 * kGiB).value));
  machine_.write(memory + "memory.limit_in_bytes", "9223372036854771712");
  const Ram ram = probe_ram(machine_.root());
  EXPECT_EQ(ram.cgroup_limit, 2 * kGiB);
  EXPECT_EQ(ram.available, 2 * kGiB);
}

TEST_F(ProbeRam, unlimited_groups_limit_nothing) {
  use_version_1();
  machine_.write("sys/fs/cgroup/memory/jobs/ours/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQ(probe_ram(machine_.root()).cgroup_limit, std::nullopt);
  use_version_2();
  machine_.write("sys/fs/cgroup/jobs/ours/memory.max", "max");
  const Ram ram = probe_ram(machine_.root());
  EXPECT_EQ(ram.cgroup_limit, std::nullopt);
  EXPECT_EQ(ram.available, 12 * kGiB);
}

// What is charged includes kernel memory that no file lists by owner; alone in its group, it is all ours.
TEST_F(ProbeRam, a_group_of_its_own_is_its_own_to_the_last_byte) {
  use_version_1();
  const std::string group = "sys/fs/cgroup/memory/jobs/ours/";
  machine_.write(group + "memory.limit_in_bytes", std::to_string(kGiB.value));
  machine_.write(group + "memory.usage_in_bytes", std::to_string((20 * kMiB).value));
  EXPECT_EQ(probe_ram(machine_.root()).available, kGiB - 20 * kMiB);
  machine_.write(group + "cgroup.procs", std::to_string(::getpid()));
  EXPECT_EQ(probe_ram(machine_.root()).available, kGiB);
  machine_.write(group + "cgroup.procs", std::to_string(::getpid()) + "\n1");
  EXPECT_EQ(probe_ram(machine_.root()).available, kGiB - 20 * kMiB) << "another process is there";
  machine_.write(group + "cgroup.procs", std::to_string(::getpid()));
  machine_.write(group + "below/cgroup.procs", "1");
  EXPECT_EQ(probe_ram(machine_.root()).available, kGiB - 20 * kMiB) << "another group is in it";
}

TEST_F(ProbeRam, a_container_that_sees_only_its_part_of_the_hierarchy_finds_its_limit) {
  machine_.write("proc/self/cgroup", "4:memory:/docker/abc");
  machine_.write("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory");
  machine_.write("sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string((3 * kGiB).value));
  EXPECT_EQ(probe_ram(machine_.root()).cgroup_limit, 3 * kGiB);
}

TEST(ProbeNothing, a_machine_that_says_nothing_has_nothing) {
  const test::FakeMachine machine;
  machine.write("proc/meminfo", "garbage\nMemTotal: many kB");
  const Ram ram = probe_ram(machine.root());
  EXPECT_EQ(ram.total, Bytes(0));
  EXPECT_EQ(ram.available, Bytes(0));
  const Cpu cpu = probe_cpu(machine.root());
  EXPECT_EQ(cpu.cores, 1U);
  EXPECT_EQ(cpu.numa_nodes, 1U);
  EXPECT_EQ(probe_disk("/models", machine.root()).name, "");
}

TEST(ProbeRamHere, this_machine_has_some) {
  const Ram ram = probe_ram();
  EXPECT_GT(ram.total, Bytes(0));
  EXPECT_GT(ram.available, Bytes(0));
  EXPECT_LE(ram.available, ram.total);
}

}  // namespace
}  // namespace loadline::hardware
