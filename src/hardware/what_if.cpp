#include "hardware/what_if.h"

#include <algorithm>

#include "hardware/cards.h"

namespace loadline::hardware {

Profile what_if(Profile base, const std::vector<std::string>& cards, std::optional<Bytes> ram) {
  if (!cards.empty()) base.gpus.clear();
  for (const std::string& name : cards) base.gpus.push_back(make_gpu(find_card(name)));
  if (ram) {
    // A desktop and its services hold about 1.5 GiB, on a small machine less.
    const Bytes taken = std::min(1536 * kMiB, *ram / 10);
    base.ram.total = *ram;
    base.ram.available = *ram - taken;
    base.ram.cgroup_limit.reset();
    base.ram.swap_total = base.ram.swap_used = Bytes(0);
  }
  return base;
}

}  // namespace loadline::hardware
