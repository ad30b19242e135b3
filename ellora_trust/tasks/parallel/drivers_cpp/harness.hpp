// What a kernel's adaptor and the driver share: bytes in, bytes out, little-endian. The standard headers are here for
// kernels too, whose prompts include none.
#pragma once

#include <algorithm>
#include <array>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace ellora {

class Input {
  public:
    explicit Input(std::vector<char> const& bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

    template <typename T> void take(T& value) { std::memcpy(&value, skip(sizeof(T)), sizeof(T)); }

    template <typename T> void take(std::vector<T>& values) {
        std::uint64_t count = length();
        char const* from = skip(count * sizeof(T));
        values.resize(count);
        if (count > 0) std::memcpy(static_cast<void*>(values.data()), from, count * sizeof(T));
    }

    template <typename T, std::size_t N> void take(std::array<T, N>& values) {
        if (length() != N) std::abort();
        std::memcpy(values.data(), skip(N * sizeof(T)), N * sizeof(T));
    }

  private:
    std::uint64_t length() {
        std::uint64_t count = 0;
        take(count);
        return count;
    }

    char const* skip(std::size_t size) {
        if (size > static_cast<std::size_t>(end_ - at_)) std::abort();
        char const* here = at_;
        at_ += size;
        return here;
    }

    char const* at_;
    char const* end_;
};

class Output {
  public:
    template <typename T> void put(T const& value) { raw(&value, sizeof(T)); }

    template <typename T> void put(std::vector<T> const& values) { list(values.data(), values.size()); }

    template <typename T, std::size_t N> void put(std::array<T, N> const& values) { list(values.data(), N); }

    std::vector<char> const& bytes() const { return bytes_; }

  private:
    template <typename T> void list(T const* from, std::uint64_t count) {
        put(count);
        raw(from, count * sizeof(T));
    }

    void raw(void const* from, std::size_t size) {
        char const* first = static_cast<char const*>(from);
        if (size > 0) bytes_.insert(bytes_.end(), first, first + size);
    }

    std::vector<char> bytes_;
};

// The adaptor, which is compiled with the kernel, defines these.
void prepare(Input& input);
void call();
void collect(Output& output);

}  // namespace ellora
