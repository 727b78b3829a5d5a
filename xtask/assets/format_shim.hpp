// A std::format for C++ libraries without one (GCC 12's), for messages with plain {} placeholders only.
// Force-included when mlx-c is compiled.
#pragma once
#include <version>

#if !defined(__cpp_lib_format)
#include <sstream>
#include <string>
#include <string_view>

namespace std {

inline string format(string_view text) {
  return string(text);
}

template <typename First, typename... Rest>
string format(string_view text, const First& first, const Rest&... rest) {
  const auto at = text.find("{}");
  if (at == string_view::npos) {
    return string(text);
  }
  ostringstream out;
  out << text.substr(0, at) << first << format(text.substr(at + 2), rest...);
  return out.str();
}

} // namespace std
#endif
