// `loadline devices`: what this machine has, and how fast it was measured to be.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "engine/backends.h"
#include "engine/measure_gpu.h"
#include "engine/measure_kernels.h"
#include "hardware/json.h"
#include "hardware/measurements.h"
#include "hardware/probe.h"
#include "hardware/unusable_gpus.h"

namespace loadline::cli {
namespace {

struct DevicesOptions {
  std::string model;
  std::vector<std::string> devices;
  bool json = false;
  bool measure = false;
};

std::string rate(double bytes_per_second) { return fmt::format("{:.1f} GB/s", bytes_per_second / 1e9); }

std::string cpu_line(const hardware::Cpu& cpu) {
  std::string line = fmt::format("{}, {} core{}", cpu.model.empty() ? "unknown processor" : printable(cpu.model),
                                 cpu.cores, cpu.cores == 1 ? "" : "s");
  if (!cpu.instruction_sets.empty()) line += fmt::format(", {}", fmt::join(cpu.instruction_sets, " "));
  if (cpu.l2.value > 0) line += fmt::format(" · L2 {}", to_string(cpu.l2));
  if (cpu.l3.value > 0) line += fmt::format(", L3 {}", to_string(cpu.l3));
  if (cpu.numa_nodes > 1) line += fmt::format(" · {} NUMA nodes", cpu.numa_nodes);
  if (cpu.int8_ops > 0) line += fmt::format(" · int8 {:.2f} Tops", cpu.int8_ops / 1e12);
  if (cpu.matrix_ops > 0) line += fmt::format(", matrix unit {:.2f} Tops", cpu.matrix_ops / 1e12);
  return line;
}

std::string ram_line(const hardware::Ram& ram) {
  std::string line = fmt::format("{}, {} available", to_string(ram.total), to_string(ram.available));
  line += ram.cgroup_limit ? fmt::format(" · cgroup limit {}", to_string(*ram.cgroup_limit)) : " · no cgroup limit";
  if (ram.swap_total.value > 0) {
    line += fmt::format(" · swap {}, {} used", to_string(ram.swap_total), to_string(ram.swap_used));
  }
  if (!ram.read_bandwidth.empty()) {
    const std::size_t threads = ram.read_bandwidth.size();
    line +=
        fmt::format(" · read {} with {} thread{}", rate(ram.read_bandwidth.back()), threads, threads == 1 ? "" : "s");
  }
  return line;
}

std::string gpu_line(const hardware::Gpu& gpu) {
  std::string line = printable(gpu.name);
  if (gpu.software) line += " (software; used only when named)";
  line += fmt::format(" · {}, {} free", to_string(gpu.total), to_string(gpu.free));
  if (gpu.float_ops > 0) {
    line += fmt::format(" · read {}, from RAM {}, float32 {:.2f} Tops", rate(gpu.memory_bandwidth),
                        rate(gpu.host_bandwidth), gpu.float_ops / 1e12);
  } else if (gpu.memory_bandwidth > 0) {
    line += fmt::format(" · {} by its data sheet", rate(gpu.memory_bandwidth));
  }
  if (gpu.context_measured) line += fmt::format(" · a context takes {}", to_string(gpu.context_memory));
  return line;
}

// Of formats that people use.
void print_kernels(const hardware::Cpu& cpu) {
  const auto kernels = hardware::recall_kernels(hardware::kernel_rates_path(), cpu, engine::wanted_kernels());
  if (!kernels) return;
  std::string line;
  for (const hardware::KernelRates::Product& product : kernels->products) {
    if (product.format != "Q4_K" && product.format != "Q8_0" && product.format != "F16") continue;
    line += fmt::format("{} {} and {:.2f} Tops · ", product.format, rate(product.bandwidth), product.ops / 1e12);
  }
  print(fmt::format("       kernels: {}attention {} · loading {}\n", line, rate(kernels->cache_bandwidth),
                    rate(kernels->loading)));
}

void print_machine(const hardware::Profile& profile, const std::vector<hardware::UnusableGpu>& unusable) {
  print(fmt::format("CPU    {}\nRAM    {}\n", cpu_line(profile.cpu), ram_line(profile.ram)));
  print_kernels(profile.cpu);
  for (std::size_t i = 0; i < profile.gpus.size(); ++i)
    print(fmt::format("GPU {}  {}\n", i, gpu_line(profile.gpus[i])));
  for (const hardware::UnusableGpu& gpu : unusable) {
    print(fmt::format("GPU -  {} cannot be used: its driver lacks {}\n", printable(gpu.name),
                      fmt::join(gpu.lacks, ", ")));
  }
  const hardware::Disk& disk = profile.disk;
  print(fmt::format(
      "disk   {}{}\n", disk.name.empty() ? "unknown" : printable(disk.name),
      disk.read_bandwidth > 0 ? fmt::format(" · direct read {:.2f} GB/s", disk.read_bandwidth / 1e9) : std::string()));
  if (profile.measured.empty()) {
    print("not measured yet; `loadline devices --measure` measures (a few seconds)\n");
  } else {
    print(fmt::format("measured {} on this machine; `loadline devices --measure` measures again\n",
                      printable(profile.measured)));
  }
}

// Where the disk is looked at: the model, else the current folder, or the cache's where that cannot be written to.
std::filesystem::path place_on_disk(const DevicesOptions& options) {
  if (!options.model.empty()) return options.model;
  const std::filesystem::path cache = hardware::measurements_path().parent_path();
  std::error_code ignored;
  const bool read_only = ::access(".", W_OK) != 0;
  return read_only && std::filesystem::is_directory(cache, ignored) ? cache : std::filesystem::path(".");
}

// The processor's figures first, remembered before a driver can fail.
void measure(hardware::Profile& profile, const DevicesOptions& options, const std::filesystem::path& place) {
  const std::filesystem::path file = hardware::measurements_path();
  std::vector<hardware::Gpu*> gpus;
  for (hardware::Gpu& gpu : profile.gpus) {
    if (!gpu.software || !options.devices.empty()) gpus.push_back(&gpu);
  }
  ProgressBar bar("measuring");
  const double share =
      1.0 /
      (6.0 + static_cast<double>(gpus.size()));  // of a GPU; limits and kernels take about three times as long each
  const bool known = !profile.measured.empty();
  bar.update(0, "new memory");
  const double loading = engine::measure_loading(profile);
  const hardware::MeasuredHow how = hardware::measure(
      profile, place, [&](std::string_view what, double done) { bar.update(done * 3 * share, what); });
  if (!how.undisturbed) {
    say(fmt::format("other programs had the processors: measuring got {:.0f} % of them at worst, so {}",
                    how.share * 100,
                    known ? fmt::format("the figures of {} are kept", printable(profile.measured))
                          : std::string("nothing of processor and RAM is remembered")));
    say("Measure again when the machine is idle.");
  }
  const engine::MeasuredKernels kernels = engine::measure_kernels(
      profile, loading, [&](std::string_view what, double done) { bar.update((3 + done * 3) * share, what); });
  hardware::remember(profile, file);  // the read limit may have risen
  if (kernels.whole) {
    engine::remember_kernels(profile, kernels.rates);
  } else if (how.undisturbed) {
    say(
        fmt::format("other programs had the processors: the kernels got {:.0f} % of them, so what they reach is not "
                    "remembered",
                    kernels.share * 100));
    say("Measure again when the machine is idle.");
  }
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    engine::measure_gpu(*gpus[i], [&](std::string_view what, double done) {
      bar.update((6.0 + static_cast<double>(i) + done) * share, fmt::format("{}: {}", printable(gpus[i]->name), what));
    });
    hardware::remember(profile, file);
  }
}

int run(const DevicesOptions& options) {
  const std::filesystem::path place = place_on_disk(options);
  if (!options.model.empty() && !std::filesystem::exists(place)) {
    throw bad_input(fmt::format("{}: no such file", options.model));
  }
  hardware::Profile profile = hardware::probe(place);
  profile.gpus = options.devices.empty() ? hardware::list_gpus() : hardware::probe_gpus(options.devices);
  hardware::recall(profile, hardware::measurements_path());
  if (options.measure) measure(profile, options, place);
  if (options.json) {
    print_json(hardware::to_json(profile));
  } else {
    print_machine(profile,
                  options.devices.empty() ? hardware::list_unusable_gpus() : std::vector<hardware::UnusableGpu>{});
  }
  return 0;
}

}  // namespace

void add_devices(Program& program) {
  auto options = std::make_shared<DevicesOptions>();
  Command& command = program.add_command("devices", "Show what this machine has, and measure how fast it is");
  command.option("model,-m,--model", &options->model,
                 "The disk that holds this file is the one shown and measured (default: the current folder's)");
  command.flag("--json", options->json, "As JSON, which --hardware reads");
  command.flag("--measure", options->measure, "Measure RAM, processor, disk and GPUs, and remember it (a few seconds)");
  command.option("-dev,--device", &options->devices,
                 "Only these GPUs, by id or name, or none; a software one is measured only if it is named here",
                 {.separator = ','});
  command.set_action([options] { return run(*options); });
}

}  // namespace loadline::cli
