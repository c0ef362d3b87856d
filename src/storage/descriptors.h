// The descriptors a queue reads from: a direct one per file where the file system grants it, the cached one elsewhere.
#pragma once

#include <span>
#include <vector>

#include "base/file.h"

namespace loadline::storage {

// Owns the direct descriptors it opened; the cached ones stay the files'.
class Descriptors {
 public:
  Descriptors(std::span<const File> files, bool direct);
  Descriptors(Descriptors&& other) noexcept = default;
  Descriptors& operator=(Descriptors&&) = delete;
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors();

  [[nodiscard]] const std::vector<int>& all() const { return all_; }
  // Every file is read past the page cache.
  [[nodiscard]] bool direct() const { return owned_.size() == all_.size(); }

 private:
  std::vector<int> all_;
  std::vector<int> owned_;
};

}  // namespace loadline::storage
