// systemd, as far as a service of it needs: a socket that it opened, and word of what the service does.
#pragma once

#include <string_view>

namespace loadline::cli {

// A socket that listens already and was handed over; -1: none. Forgets it, so that no child takes it for its own.
// Throws Error(BadInput) where there are several.
int handed_over_socket();

// "READY=1", "STOPPING=1", "STATUS=..."; nothing where nobody listens.
void notify_service_manager(std::string_view state);

}  // namespace loadline::cli
