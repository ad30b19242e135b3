"""The kernels that models are asked to write: texts, signatures and our own serial bodies.

    PROBLEMS["dot"].signature         # "double dot(std::vector<double> const& x, std::vector<double> const& y)"

In texts and signatures `{x}` is the name of the parameter `x`, so that variants can rename it; a serial body is for
the names as they stand here.
"""

from __future__ import annotations

from dataclasses import dataclass

V, W = "std::vector<double> const& ", "std::vector<double> &"
INTS, INTS_OUT = "std::vector<int> const& ", "std::vector<int> &"
_COO = "struct COOElement {\n   size_t row, column;\n   double value;\n};"


@dataclass(frozen=True)
class Problem:
    """One kernel.

    Attributes:
        name: Ours.
        kind: Type of problem, in ParEval's words.
        names: What the function may be called; the first is the base set's.
        result: C++ type of what it returns.
        parameters: C++ declarations, with the names in braces.
        texts: The task in several wordings; the first is the base set's.
        serial: A serial body, without the closing brace.
        models: Execution models in which it is asked.
        pareval: Its name in ParEval, empty where that has no such problem.
        declares: C++ that stands before the comment.
    """

    name: str
    kind: str
    names: tuple[str, ...]
    result: str
    parameters: tuple[str, ...]
    texts: tuple[str, ...]
    serial: str
    models: tuple[str, ...] = ("serial", "omp")
    pareval: str = ""
    declares: str = ""

    @property
    def signature(self) -> str:
        """The C++ signature with the base set's names."""
        return f"{self.result} {self.names[0]}({', '.join(self.parameters)})".replace("{", "").replace("}", "")


_ALL = ("serial", "omp", "mpi", "mpi+omp")
_MPI = ("serial", "omp", "mpi")
_LOOP = "for (size_t i = 0; i < x.size(); ++i)"

_LIST = (
    Problem(
        "axpy", "dense_la", ("axpy", "scaledSum", "addScaled"), "void",
        ("double {alpha}", V + "{x}", V + "{y}", W + "{z}"),
        ("Scale the vector {x} by {alpha}, add the vector {y} and store the sum in {z}.",
         "For every i set {z}[i] to {alpha} * {x}[i] + {y}[i].",
         "Write {alpha} times {x} plus {y} into {z}, element by element."),
        f"{_LOOP} z[i] = alpha * x[i] + y[i];", _MPI, "dense_la_axpy",
    ),
    Problem(
        "dot", "dense_la", ("dot", "innerProduct", "scalarProduct"), "double", (V + "{x}", V + "{y}"),
        ("Return the dot product of the vectors {x} and {y}.",
         "Multiply {x} and {y} element by element and return the sum of the products.",
         "Return the inner product of {x} and {y}, which have the same length."),
        f"double total = 0;\n{_LOOP} total += x[i] * y[i];\nreturn total;", _ALL,
    ),
    Problem(
        "gemv", "dense_la", ("gemv", "matVec", "applyMatrix"), "void",
        (V + "{A}", V + "{x}", W + "{y}", "size_t {M}", "size_t {N}"),
        ("Multiply the {M}x{N} matrix {A}, stored row by row, by the vector {x}. Store the product in {y}.",
         "Set {y}[i] to the dot product of row i of {A} and {x}. {A} has {M} rows and {N} columns, in row-major order.",
         "Store the matrix-vector product of {A} ({M}x{N}, row-major) and {x} in {y}."),
        "for (size_t i = 0; i < M; ++i) {\n  double total = 0;\n"
        "  for (size_t j = 0; j < N; ++j) total += A[i * N + j] * x[j];\n  y[i] = total;\n}",
        _MPI, "dense_la_gemv",
    ),
    Problem(
        "gemm", "dense_la", ("gemm", "matMul", "multiplyMatrices"), "void",
        (V + "{A}", V + "{B}", W + "{C}", "size_t {M}", "size_t {K}", "size_t {N}"),
        ("Store the product of the {M}x{K} matrix {A} and the {K}x{N} matrix {B} in {C}. All are stored row by row.",
         "Multiply two row-major matrices: {A} is {M}x{K}, {B} is {K}x{N}, and the product goes to {C}."),
        "for (size_t i = 0; i < M; ++i)\n  for (size_t j = 0; j < N; ++j) {\n    double total = 0;\n"
        "    for (size_t k = 0; k < K; ++k) total += A[i * K + k] * B[k * N + j];\n    C[i * N + j] = total;\n  }",
        pareval="dense_la_gemm",
    ),
    Problem(
        "transpose", "transform", ("transpose", "flipMatrix", "transposed"), "void",
        (V + "{A}", W + "{B}", "size_t {M}", "size_t {N}"),
        ("Store the transpose of the {M}x{N} matrix {A} in {B}, an {N}x{M} matrix. Both are stored row by row.",
         "Write row i of {A} ({M} rows, {N} columns, row-major) as column i of {B}."),
        "for (size_t i = 0; i < M; ++i)\n  for (size_t j = 0; j < N; ++j) B[j * M + i] = A[i * N + j];",
    ),
    Problem(
        "prefix_sum", "scan", ("prefixSum", "runningSum", "inclusiveScan"), "void", (V + "{x}", W + "{output}"),
        ("Store the running sums of {x} in {output}: {output}[i] is {x}[0] + ... + {x}[i].",
         "Set every {output}[i] to the sum of the elements of {x} up to and including {x}[i]."),
        f"double total = 0;\n{_LOOP} {{\n  total += x[i];\n  output[i] = total;\n}}", pareval="scan_prefix_sum",
    ),
    Problem(
        "sum", "reduce", ("sum", "total", "addAll"), "int", (INTS + "{x}",),
        ("Return the sum of all elements of {x}.", "Add up the numbers in {x} and return the result."),
        f"int total = 0;\n{_LOOP} total += x[i];\nreturn total;", _ALL,
    ),
    Problem(
        "average", "reduce", ("average", "mean", "meanValue"), "double", (V + "{x}",),
        ("Return the mean of the numbers in {x}.", "Return the sum of {x} divided by its length."),
        f"double total = 0;\n{_LOOP} total += x[i];\nreturn total / x.size();", _MPI, "reduce_average",
    ),
    Problem(
        "sum_of_min", "reduce", ("sumOfMin", "sumSmaller", "addMinima"), "double", (V + "{x}", V + "{y}"),
        ("Return the sum over all i of the smaller one of {x}[i] and {y}[i].",
         "For each index take the minimum of {x} and {y}, and return the sum of these minima."),
        f"double total = 0;\n{_LOOP} total += std::min(x[i], y[i]);\nreturn total;", _MPI, "reduce_sum_of_min_of_pairs",
    ),
    Problem(
        "argmax", "search", ("indexOfMax", "argmax", "whereLargest"), "size_t", (V + "{x}",),
        ("Return the index of the largest element of {x}. If it occurs more than once, return the first index.",
         "Find the first position in {x} that holds its maximum, and return it."),
        "size_t best = 0;\nfor (size_t i = 1; i < x.size(); ++i)\n  if (x[i] > x[best]) best = i;\nreturn best;", _MPI,
    ),
    Problem(
        "histogram", "histogram", ("countByTens", "histogram", "fillBins"), "void",
        (V + "{x}", "std::array<size_t, 10> &{bins}"),
        ("The values in {x} are at least 0 and less than 100. Count those in [0, 10), [10, 20) and so on in {bins}. "
         "{bins} holds zeros at the start.",
         "Count in {bins}[b] how many values of {x} lie in [10 * b, 10 * b + 10). All lie in [0, 100). "
         "{bins} begins as zeros."),
        f"{_LOOP} bins[static_cast<size_t>(x[i] / 10)] += 1;", _ALL, "histogram_bin_0-100",
    ),
    Problem(
        "jacobi_1d", "stencil", ("jacobi1D", "smoothLine", "average3"), "void", (V + "{input}", W + "{output}"),
        ("Set {output}[i] to ({input}[i-1] + {input}[i] + {input}[i+1]) / 3. Past the ends {input} counts as 0.",
         "Store the mean of each element of {input} and its two neighbours in {output}; missing neighbours are 0."),
        "size_t n = input.size();\nfor (size_t i = 0; i < n; ++i) {\n  double left = i > 0 ? input[i - 1] : 0;\n"
        "  double right = i + 1 < n ? input[i + 1] : 0;\n  output[i] = (left + input[i] + right) / 3;\n}",
        pareval="stencil_1d_jacobi_3-point_stencil",
    ),
    Problem(
        "jacobi_2d", "stencil", ("jacobi2D", "smoothGrid", "average5"), "void",
        (V + "{input}", W + "{output}", "size_t {N}"),
        ("{input} and {output} are {N}x{N} grids, stored row by row. Store the mean of each cell and its four "
         "neighbours in {output}. Cells outside count as 0 and the sum is always divided by 5.",
         "One 5-point stencil step on the {N}x{N} row-major grid {input}: each cell of {output} is a fifth of the sum "
         "of the cell, its left, right, upper and lower neighbour, with 0 outside."),
        "for (size_t i = 0; i < N; ++i)\n  for (size_t j = 0; j < N; ++j) {\n    double total = input[i * N + j];\n"
        "    if (i > 0) total += input[(i - 1) * N + j];\n    if (i + 1 < N) total += input[(i + 1) * N + j];\n"
        "    if (j > 0) total += input[i * N + j - 1];\n    if (j + 1 < N) total += input[i * N + j + 1];\n"
        "    output[i * N + j] = total / 5;\n  }",
        pareval="stencil_2d_jacobi_5-point_stencil",
    ),
    Problem(
        "relu", "transform", ("relu", "clipNegative", "rectify"), "void", (W + "{x}",),
        ("Replace every negative element of {x} by 0.", "Set each {x}[i] to the larger one of {x}[i] and 0."),
        f"{_LOOP}\n  if (x[i] < 0) x[i] = 0;", pareval="transform_relu",
    ),
    Problem(
        "sort", "sort", ("sortAscending", "sortVector", "orderNumbers"), "void", (INTS_OUT + "{x}",),
        ("Sort {x} in place, smallest element first.", "Put the elements of {x} into ascending order."),
        "std::sort(x.begin(), x.end());",
    ),
    Problem(
        "escape", "transform", ("escapeCounts", "mandelbrot", "boundedSteps"), "void",
        (V + "{re}", V + "{im}", INTS_OUT + "{counts}", "int {limit}"),
        ("For the complex number c = {re}[i] + {im}[i] * 1i start with z = 0 and repeat z = z * z + c, at most {limit} "
         "times, until |z| exceeds 2. Store in {counts}[i] how many of the steps left |z| at most 2.",
         "Mandelbrot iteration: with c = ({re}[i], {im}[i]) and z = 0, step z = z * z + c up to {limit} times. "
         "{counts}[i] is the number of steps after which |z| was still at most 2."),
        "for (size_t i = 0; i < re.size(); ++i) {\n  double a = 0, b = 0;\n  int count = 0;\n"
        "  while (count < limit) {\n    double next = a * a - b * b + re[i];\n    b = 2 * a * b + im[i];\n"
        "    a = next;\n    if (a * a + b * b > 4) break;\n    ++count;\n  }\n  counts[i] = count;\n}",
    ),
    Problem(
        "spmv", "sparse_la", ("spmv", "sparseMatVec", "applySparse"), "void",
        ("double {alpha}", "std::vector<COOElement> const& {A}", V + "{x}", "double {beta}", W + "{y}", "size_t {M}",
         "size_t {N}"),
        ("Replace {y} by {alpha} * {A} * {x} + {beta} * {y}. {A} is a sparse {M}x{N} matrix, the sum of its elements.",
         "Sparse matrix-vector product: {y} becomes {alpha} times {A} times {x} plus {beta} times the old {y}. {A} is "
         "{M}x{N}; elements at the same place add up."),
        "for (size_t i = 0; i < M; ++i) y[i] *= beta;\n"
        "for (size_t i = 0; i < A.size(); ++i) y[A[i].row] += alpha * A[i].value * x[A[i].column];",
        pareval="sparse_la_spmv", declares=_COO,
    ),
    Problem(
        "primes", "search", ("countPrimes", "howManyPrimes", "primesIn"), "int", (INTS + "{x}",),
        ("Return how many elements of {x} are prime numbers.", "Count the primes among the positive numbers in {x}."),
        "int count = 0;\nfor (size_t i = 0; i < x.size(); ++i) {\n  bool prime = x[i] > 1;\n"
        "  for (int d = 2; d * d <= x[i]; ++d)\n    if (x[i] % d == 0) prime = false;\n  if (prime) ++count;\n}\n"
        "return count;", _ALL,
    ),
    Problem(
        "contains", "search", ("contains", "isIn", "occurs"), "bool", (INTS + "{x}", "int {target}"),
        ("Return whether {target} occurs in {x}.", "Return true if any element of {x} equals {target}, else false."),
        f"bool found = false;\n{_LOOP} found = found || x[i] == target;\nreturn found;", _MPI,
        "search_check_if_array_contains_value",
    ),
    Problem(
        "edges", "graph", ("edgeCount", "countEdges", "numberOfEdges"), "int", (INTS + "{A}", "size_t {N}"),
        ("{A} is the {N}x{N} adjacency matrix of an undirected graph, stored row by row. Return its number of edges.",
         "Count the edges of an undirected graph with {N} vertices. {A}[i * {N} + j] is 1 where i and j are joined."),
        "int count = 0;\nfor (size_t i = 0; i < N; ++i)\n  for (size_t j = i + 1; j < N; ++j) count += A[i * N + j];\n"
        "return count;", _MPI,
    ),
)  # fmt: skip

PROBLEMS = {problem.name: problem for problem in _LIST}
