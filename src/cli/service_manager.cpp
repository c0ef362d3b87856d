#include "cli/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"

namespace loadline::cli {

// sd_listen_fds(3): descriptors from 3 on, meant for the process that LISTEN_PID names.
int handed_over_socket() {
  constexpr int kFirst = 3;
  const char* process = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (process == nullptr || count == nullptr) return -1;
  const bool ours = std::string_view(process) == std::to_string(::getpid());
  const std::string number = count;
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  if (!ours || number == "0") return -1;
  if (number != "1") {
    throw bad_input("several sockets were handed over, but one is served", "Name one address in the socket unit.");
  }
  return kFirst;
}

// sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names; "@" stands for the zero byte of an abstract one.
void notify_service_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length < 2 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) return;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // Best effort: a manager that is gone is told nothing.
  (void)::sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                 size);
  ::close(descriptor);
}

}  // namespace loadline::cli
