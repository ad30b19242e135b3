// Runs a kernel on cases and reports what it gave. Usage: driver INPUT REPLY
//
// INPUT is "-" for standard input or a path; REPLY a descriptor or, under MPI, a path to which the rank is added.
// Input: nonce (16 bytes), prepares, calls, collects, number of cases (32 bits each), then the arguments of each case.
// Each case is prepared `prepares` times, the kernel called after the last `calls` of them, and its outputs collected
// after the last `collects`; two runs that differ in `calls` alone differ by kernel time alone. Reply: nonce, rank
// (32 bits), then the outputs. Nothing here knows a right answer.
#include "harness.hpp"

#include <cstdio>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#ifdef ELLORA_MPI
#include <mpi.h>
#endif

namespace {

std::vector<char> everything(char const* path) {
    int source = std::strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY);
    std::vector<char> bytes;
    std::vector<char> chunk(1 << 16);
    for (ssize_t got; (got = read(source, chunk.data(), chunk.size())) > 0;) {
        bytes.insert(bytes.end(), chunk.begin(), chunk.begin() + got);
    }
    return bytes;
}

bool deliver(int target, std::vector<char> const& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
        ssize_t count = write(target, bytes.data() + sent, bytes.size() - sent);
        if (count <= 0) return false;
        sent += static_cast<std::size_t>(count);
    }
    return true;
}

struct Rounds {
    std::uint32_t prepares, calls, collects;
};

void run_case(ellora::Input& input, ellora::Output& output, Rounds const& rounds) {
    ellora::Input const start = input;
    for (std::uint32_t left = rounds.prepares; left > 0; --left) {
        input = start;
        ellora::prepare(input);
        if (left <= rounds.calls) ellora::call();
        if (left <= rounds.collects) ellora::collect(output);
    }
}

int run_all(std::vector<char> const& bytes, int rank, int target) {
    ellora::Input input(bytes);
    ellora::Output output;
    std::array<char, 16> nonce{};
    for (char& byte : nonce) input.take(byte);
    for (char byte : nonce) output.put(byte);
    output.put(static_cast<std::uint32_t>(rank));
    Rounds rounds{};
    input.take(rounds);
    std::uint32_t cases = 0;
    input.take(cases);
    for (std::uint32_t index = 0; index < cases; ++index) run_case(input, output, rounds);
    return deliver(target, output.bytes()) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
#ifdef ELLORA_MPI
    MPI_Init(&argc, &argv);
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    std::string path = std::string(argv[2]) + "." + std::to_string(rank);
    int failed = run_all(everything(argv[1]), rank, open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    MPI_Finalize();
    return failed;
#else
    return run_all(everything(argv[1]), 0, std::atoi(argv[2]));
#endif
}
