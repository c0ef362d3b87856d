// From a request's bytes to a Request, by Beast's parser and what it leaves to its user. Of http_server.cpp alone.
#pragma once

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "serve/http.h"

namespace loadline::serve {

namespace http = boost::beast::http;
using HttpParser = http::request_parser<http::string_body>;

// What the client is told.
struct HttpRefusal {
  int status = 400;
  std::string_view why = "this is no HTTP request";
};

// Of a head: each of its fields takes memory, however short it is.
inline constexpr std::ptrdiff_t kMostFields = 100;

// Why the server takes no request with this head; nullopt: it does. What a server and one before it could understand as
// two different requests is none.
inline std::optional<HttpRefusal> head_refusal_of(HttpParser& parser) {
  const auto& head = parser.get();
  if (std::distance(head.begin(), head.end()) > kMostFields) {
    return HttpRefusal{431, "the header has more fields than this server takes"};
  }
  if (head.find(http::field::transfer_encoding) == head.end()) return std::nullopt;
  if (head.find(http::field::content_length) != head.end()) {
    return HttpRefusal{400, "a request has either Content-Length or Transfer-Encoding"};
  }
  if (!parser.chunked()) return HttpRefusal{400, "of transfer encodings only chunked is taken"};
  return std::nullopt;
}

inline Request request_of(HttpParser::value_type message) {
  Request request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  const std::size_t mark = std::min(target.find('?'), target.size());
  request.path = std::string(target.substr(0, mark));
  if (mark < target.size()) request.query = std::string(target.substr(mark + 1));
  for (const auto& field : message) {
    std::string name(field.name_string().data(), field.name_string().size());
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    request.headers.emplace_back(std::move(name), std::string(field.value().data(), field.value().size()));
  }
  request.body = std::move(message.body());
  return request;
}

// Of an error; nullopt where the client left.
inline std::optional<HttpRefusal> http_refusal_of(const boost::system::error_code& error) {
  if (error == http::error::body_limit) return HttpRefusal{413, "the body is larger than this server takes"};
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return HttpRefusal{431, "the header is larger than this server takes"};
  }
  // A client that left, or a timeout, gets no answer; what is no HTTP does.
  if (error.category() != http::make_error_code(http::error::bad_method).category() ||
      error == http::error::end_of_stream || error == http::error::partial_message) {
    return std::nullopt;
  }
  return HttpRefusal{};
}

}  // namespace loadline::serve
