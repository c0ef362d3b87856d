#include "hardware/probe.h"

namespace loadline::hardware {

Profile probe(const std::filesystem::path& model_path) {
  Profile profile;
  profile.cpu = probe_cpu();
  profile.ram = probe_ram();
  profile.disk = probe_disk(model_path);
  return profile;
}

}  // namespace loadline::hardware
