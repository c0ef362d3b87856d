// `loadline ui`: opens a running server's page in the browser, or says where it is.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>

#include <memory>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/server_options.h"

extern char** environ;

namespace loadline::cli {
namespace {

// The desktop's own way to open an address. False where there is none.
bool open_in_browser(std::string url) {
  std::string program = "xdg-open";
  char* const arguments[] = {program.data(), url.data(), nullptr};
  pid_t child = 0;
  if (::posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments, environ) != 0) return false;
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run(const ServerOptions& server) {
  (void)server.get("/health");  // which says what is wrong where there is none
  const std::string url = server.url() + "/";
  if (!open_in_browser(url)) say("No browser could be opened; this is the page:");
  print(url + "\n");
  return 0;
}

}  // namespace

void add_ui(Program& program) {
  auto server = std::make_shared<ServerOptions>();
  Command& command = program.add_command("ui", "Open a running server's page in the browser");
  server->add_to(command);
  command.set_action([server] { return run(*server); });
}

}  // namespace loadline::cli
