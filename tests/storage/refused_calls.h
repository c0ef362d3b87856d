// A thread to which the system refuses chosen calls, as sandboxes and old kernels do. Nothing is faked: a seccomp
// filter, which Linux keeps per thread, answers them.
#pragma once

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace loadline::test {

struct Refusal {
  long call;
  int error;
  std::uint32_t flags = 0;  // only where the third argument has one of these bits; 0: always
};

// Runs `function` in a thread of its own, and threads that it starts, with these refusals. False, without running it,
// where the machine allows no filters.
inline bool run_with_refusals(const std::vector<Refusal>& refusals, const std::function<void()>& function) {
  std::vector<sock_filter> filter;
  const auto load = [&](std::size_t offset) {
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
  };
  for (const Refusal& refusal : refusals) {
    load(offsetof(seccomp_data, nr));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(refusal.call), 0,
                              static_cast<std::uint8_t>(refusal.flags == 0 ? 1 : 3)));
    if (refusal.flags != 0) {
      load(offsetof(seccomp_data, args[2]));  // the lower half on little-endian machines
      filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, refusal.flags, 0, 1));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal.error)));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  bool refused = false;
  std::thread([&] {
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return;
    if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return;
    refused = true;
    function();
  }).join();
  return refused;
}

}  // namespace loadline::test
