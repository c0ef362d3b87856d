// Processor, NUMA nodes and disks of machines that are not this one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hardware/fake_machine.h"
#include "hardware/probe.h"

namespace loadline::hardware {
namespace {

using testing::Contains;
using testing::Not;

class ProbeCpu : public testing::Test {
 protected:
  // Two packages of two cores of two threads each.
  void SetUp() override {
    machine_.write("proc/cpuinfo",
                   "processor : 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu avx2 fma avx512f avx512_vnni");
    machine_.write("sys/devices/system/cpu/online", "0-7");
    for (int cpu = 0; cpu < 8; ++cpu) {
      const std::string topology = "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      machine_.write(topology + "physical_package_id", std::to_string(cpu / 4));
      machine_.write(topology + "core_id", std::to_string(cpu % 4 / 2));
    }
    machine_.write("sys/devices/system/cpu/cpu0/cache/index0/level", "1");
    machine_.write("sys/devices/system/cpu/cpu0/cache/index0/size", "48K");
    machine_.write("sys/devices/system/cpu/cpu0/cache/index1/level", "2");
    machine_.write("sys/devices/system/cpu/cpu0/cache/index1/size", "2048K");
    machine_.write("sys/devices/system/cpu/cpu0/cache/index2/level", "3");
    machine_.write("sys/devices/system/cpu/cpu0/cache/index2/size", "32M");
    machine_.write("sys/devices/system/node/online", "0-1");
  }
  test::FakeMachine machine_;
};

TEST_F(ProbeCpu, counts_cores_and_not_their_threads) {
  const Cpu cpu = probe_cpu(machine_.root());
  EXPECT_EQ(cpu.cores, 4U);
  EXPECT_EQ(cpu.numa_nodes, 2U);
  EXPECT_EQ(cpu.model, "Test CPU 9000");
  EXPECT_EQ(cpu.l2, 2 * kMiB);
  EXPECT_EQ(cpu.l3, 32 * kMiB);
  EXPECT_THAT(cpu.instruction_sets, Contains("avx512_vnni"));
  EXPECT_THAT(cpu.instruction_sets, Not(Contains("amx_int8")));
}

TEST_F(ProbeCpu, a_quota_of_processor_time_grants_fewer) {
  machine_.write("sys/fs/cgroup/cpu.max", "150000 100000");
  EXPECT_EQ(probe_cpu(machine_.root()).cores, 2U);
  machine_.write("sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT_EQ(probe_cpu(machine_.root()).cores, 4U);
}

TEST_F(ProbeCpu, counts_processors_with_their_threads_as_far_as_they_are_granted) {
  EXPECT_EQ(probe_processors(machine_.root()), 8U);
  machine_.write("sys/fs/cgroup/cpu.max", "300000 100000");
  EXPECT_EQ(probe_processors(machine_.root()), 3U);
}

TEST(ProbeDisk, is_the_one_with_the_longest_mount_point_above_the_file) {
  const test::FakeMachine machine;
  machine.write("proc/self/mountinfo",
                "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /models rw - xfs /dev/nvme0n1 rw\n"
                "3 1 0:9 / /mode rw - tmpfs tmpfs rw");
  EXPECT_EQ(probe_disk("/models/llama.gguf", machine.root()).name, "xfs on nvme0n1");
  EXPECT_EQ(probe_disk("/modelsmore/llama.gguf", machine.root()).name, "ext4 on sda1");
  EXPECT_EQ(probe_disk("/mode/x", machine.root()).name, "tmpfs");
}

}  // namespace
}  // namespace loadline::hardware
