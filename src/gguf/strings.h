// An array of strings as metadata hold it: the text of all in one piece and where each ends, 4 bytes for one where a
// file takes 8. A vocabulary as a vector of std::string takes two to three times its bytes in the file.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loadline::gguf {

// Like a vector of string views into its own text: what is read from it lives as long as it does and is not changed.
class Strings {
 public:
  using value_type = std::string_view;

  class Iterator {
   public:
    using value_type = std::string_view;
    using reference = std::string_view;
    using pointer = void;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;  // of C++17, whose others give references
    using iterator_concept = std::random_access_iterator_tag;

    Iterator() = default;
    Iterator(const Strings* strings, std::ptrdiff_t at) : strings_(strings), at_(at) {}

    std::string_view operator*() const { return (*strings_)[static_cast<std::size_t>(at_)]; }
    std::string_view operator[](std::ptrdiff_t by) const { return *(*this + by); }
    Iterator& operator+=(std::ptrdiff_t by) { return at_ += by, *this; }
    Iterator& operator-=(std::ptrdiff_t by) { return at_ -= by, *this; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this -= 1; }
    Iterator operator++(int) { return {strings_, at_++}; }
    Iterator operator--(int) { return {strings_, at_--}; }
    friend Iterator operator+(Iterator from, std::ptrdiff_t by) { return from += by; }
    friend Iterator operator+(std::ptrdiff_t by, Iterator from) { return from += by; }
    friend Iterator operator-(Iterator from, std::ptrdiff_t by) { return from -= by; }
    friend std::ptrdiff_t operator-(const Iterator& a, const Iterator& b) { return a.at_ - b.at_; }
    friend bool operator==(const Iterator& a, const Iterator& b) { return a.at_ == b.at_; }
    friend auto operator<=>(const Iterator& a, const Iterator& b) { return a.at_ <=> b.at_; }

   private:
    const Strings* strings_ = nullptr;
    std::ptrdiff_t at_ = 0;
  };
  using iterator = Iterator;
  using const_iterator = Iterator;

  // The most text of all strings together: their ends have 32 bits.
  static constexpr std::uint64_t kMostText = 0xFFFFFFFF;

  Strings() = default;
  // Implicit, as a vector is what others have.
  Strings(const std::vector<std::string>& strings) {
    std::size_t characters = 0;
    for (const std::string& one : strings) characters += one.size();
    reserve(strings.size(), characters);
    for (const std::string& one : strings) push_back(one);
  }

  // Exactly so much is allocated.
  void reserve(std::size_t count, std::size_t characters) {
    ends_.reserve(count);
    text_.reserve(characters);
  }
  // All strings together must stay within kMostText.
  void push_back(std::string_view text) {
    text_.insert(text_.end(), text.begin(), text.end());
    ends_.push_back(static_cast<std::uint32_t>(text_.size()));
  }

  [[nodiscard]] std::size_t size() const { return ends_.size(); }
  [[nodiscard]] bool empty() const { return ends_.empty(); }
  [[nodiscard]] std::string_view operator[](std::size_t index) const {
    const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
    return {text_.data() + begin, ends_[index] - begin};
  }
  [[nodiscard]] std::string_view front() const { return (*this)[0]; }
  [[nodiscard]] std::string_view back() const { return (*this)[size() - 1]; }
  [[nodiscard]] Iterator begin() const { return {this, 0}; }
  [[nodiscard]] Iterator end() const { return {this, static_cast<std::ptrdiff_t>(size())}; }

  [[nodiscard]] std::vector<std::string> to_vector() const {
    std::vector<std::string> strings;
    strings.reserve(size());
    for (const std::string_view one : *this) strings.emplace_back(one);
    return strings;
  }
  // What it holds of the heap.
  [[nodiscard]] std::uint64_t heap_bytes() const { return text_.capacity() + ends_.capacity() * sizeof(ends_[0]); }

  bool operator==(const Strings& other) const = default;

 private:
  std::vector<char> text_;
  std::vector<std::uint32_t> ends_;
};

}  // namespace loadline::gguf
