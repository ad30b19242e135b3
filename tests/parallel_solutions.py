"""A right body for every problem and execution model of the parallel task; models under test never see them."""

from __future__ import annotations

import re

from ellora_trust.tasks.parallel.problems import PROBLEMS

_FOR = "#pragma omp parallel for "
_OMP = {
    "prefix_sum": """
  size_t n = x.size();
  std::vector<double> part;
  #pragma omp parallel
  {
    int me = omp_get_thread_num(), all = omp_get_num_threads();
    size_t first = n * me / all, last = n * (me + 1) / all;
    #pragma omp single
    part.assign(all + 1, 0.0);
    double own = 0;
    for (size_t i = first; i < last; ++i) own += x[i];
    part[me + 1] = own;
    #pragma omp barrier
    double total = 0;
    for (int t = 0; t <= me; ++t) total += part[t];
    for (size_t i = first; i < last; ++i) output[i] = total += x[i];
  }
}""",
    "argmax": """
  size_t best = 0;
  #pragma omp parallel
  {
    size_t own = 0;
    #pragma omp for nowait
    for (size_t i = 0; i < x.size(); ++i) if (x[i] > x[own] || (x[i] == x[own] && i < own)) own = i;
    #pragma omp critical
    if (x[own] > x[best] || (x[own] == x[best] && own < best)) best = own;
  }
  return best;
}""",
    "histogram": """
  #pragma omp parallel
  {
    size_t own[10] = {};
    #pragma omp for
    for (size_t i = 0; i < x.size(); ++i) own[(int)(x[i] / 10)]++;
    #pragma omp critical
    for (int b = 0; b < 10; ++b) bins[b] += own[b];
  }
}""",
    "sort": """
  size_t n = x.size();
  #pragma omp parallel for
  for (int part = 0; part < 4; ++part) std::sort(x.begin() + n * part / 4, x.begin() + n * (part + 1) / 4);
  std::inplace_merge(x.begin(), x.begin() + n / 4, x.begin() + n / 2);
  std::inplace_merge(x.begin() + n / 2, x.begin() + n * 3 / 4, x.end());
  std::inplace_merge(x.begin(), x.begin() + n / 2, x.end());
}""",
    "spmv": """
  #pragma omp parallel for
  for (size_t i = 0; i < M; ++i) y[i] *= beta;
  #pragma omp parallel for
  for (size_t i = 0; i < A.size(); ++i) {
    #pragma omp atomic
    y[A[i].row] += alpha * A[i].value * x[A[i].column];
  }
}""",
}
_REDUCTIONS = {
    "dot": "reduction(+:total)",
    "sum": "reduction(+:total)",
    "average": "reduction(+:total)",
    "sum_of_min": "reduction(+:total)",
    "primes": "reduction(+:count)",
    "contains": "reduction(||:found)",
    "edges": "reduction(+:count)",
}
_RANK = """
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
"""
_SUMS = {
    "dot": ("double", "MPI_DOUBLE", "x.size()", "own += x[i] * y[i];", "all"),
    "sum": ("int", "MPI_INT", "x.size()", "own += x[i];", "all"),
    "average": ("double", "MPI_DOUBLE", "x.size()", "own += x[i];", "all / x.size()"),
    "sum_of_min": ("double", "MPI_DOUBLE", "x.size()", "own += std::min(x[i], y[i]);", "all"),
    "contains": ("int", "MPI_INT", "x.size()", "own += x[i] == target;", "all > 0"),
    "edges": ("int", "MPI_INT", "N", "for (size_t j = i + 1; j < N; ++j) own += A[i * N + j];", "all"),
    "primes": (
        "int",
        "MPI_INT",
        "x.size()",
        "{ bool prime = x[i] > 1; for (int d = 2; d * d <= x[i]; ++d) prime = prime && x[i] % d; own += prime; }",
        "all",
    ),
}
_MPI = {
    "axpy": """
  std::vector<double> own(x.size(), 0.0);
  for (size_t i = rank; i < x.size(); i += size) own[i] = alpha * x[i] + y[i];
  MPI_Reduce(own.data(), z.data(), own.size(), MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
}""",
    "gemv": """
  std::vector<double> own(M, 0.0);
  for (size_t i = rank; i < M; i += size)
    for (size_t j = 0; j < N; ++j) own[i] += A[i * N + j] * x[j];
  MPI_Reduce(own.data(), y.data(), M, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
}""",
    "argmax": """
  struct { double value; int index; } own = {x[0], 0}, best;
  for (size_t i = rank; i < x.size(); i += size) if (x[i] > own.value) { own.value = x[i]; own.index = i; }
  MPI_Allreduce(&own, &best, 1, MPI_DOUBLE_INT, MPI_MAXLOC, MPI_COMM_WORLD);
  return best.index;
}""",
    "histogram": """
  unsigned long own[10] = {}, all[10];
  OMP
  for (size_t i = rank; i < x.size(); i += size) own[(int)(x[i] / 10)]++;
  MPI_Reduce(own, all, 10, MPI_UNSIGNED_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) for (int b = 0; b < 10; ++b) bins[b] = all[b];
}""",
}


def solution(name: str, model: str) -> str:
    """Return a right body, with its closing brace."""
    if "mpi" in model:
        return _mpi(name, both="omp" in model)
    serial = f"\n{PROBLEMS[name].serial}\n}}"
    if model == "serial":
        return serial
    # The first loop is the outermost one.
    return _OMP.get(name) or re.sub(r"^for ", f"{_FOR}{_REDUCTIONS.get(name, '')}\nfor ", serial, count=1, flags=re.M)


def _mpi(name: str, *, both: bool) -> str:
    if name in _MPI:
        return _RANK + _MPI[name].replace("OMP", f"{_FOR}reduction(+:own[:10])" if both else "")
    kind, sent, length, work, result = _SUMS[name]
    pragma = f"  {_FOR}reduction(+:own)\n" if both else ""
    return (
        f"{_RANK}  {kind} own = 0, all = 0;\n{pragma}  for (size_t i = rank; i < {length}; i += size) {work}\n"
        f"  MPI_Allreduce(&own, &all, 1, {sent}, MPI_SUM, MPI_COMM_WORLD);\n  return {result};\n}}"
    )
