// Texts that a grammar lets through, by tokens drawn at random from its masks.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "grammar/session.h"

namespace loadline::grammar {

// Bytes, and a few longer tokens that cross the borders of rules.
TokenIndex small_index();
// What random choices write; nullopt where they find no end. After a while they prefer what closes something.
std::optional<std::string> random_walk(Session& session, const TokenIndex& index, std::mt19937& random);

}  // namespace loadline::grammar
