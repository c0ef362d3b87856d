// `loadline ui`: opens a running server's page in the browser, or says where it is.
#include <fcntl.h>
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
  posix_spawn_file_actions_t quiet;  // what it says of browsers that it does not find is no help
  if (::posix_spawn_file_actions_init(&quiet) != 0) return false;
  for (const int stream : {1, 2}) ::posix_spawn_file_actions_addopen(&quiet, stream, "/dev/null", O_RDWR, 0);
  pid_t child = 0;
  const bool begun = ::posix_spawnp(&child, program.c_str(), &quiet, nullptr, arguments, environ) == 0;
  ::posix_spawn_file_actions_destroy(&quiet);
  if (!begun) return false;
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
