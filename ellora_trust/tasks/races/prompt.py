"""How a program is shown and which answers are shown before it.

prompt_of("int a[10];")      # 'int a[10];\\n// Data race (yes or no):'
"""

from __future__ import annotations

QUESTION = "\n// Data race (yes or no):"

# Names that no pattern draws, so that no shot can be asked.
SHOTS = (
    (
        """\
int values[100], total;
void collect(void) {
    #pragma omp parallel for
    for (int i = 0; i < 100; i++)
        total += values[i];
}""",
        "yes",
    ),
    (
        """\
int values[100], result[100];
void copy(void) {
    #pragma omp parallel for
    for (int i = 0; i < 100; i++)
        result[i] = values[i] + 1;
}""",
        "no",
    ),
    (
        """\
int values[100], total;
void collect(void) {
    #pragma omp parallel for
    for (int i = 0; i < 100; i++) {
        #pragma omp atomic
        total += values[i];
    }
}""",
        "no",
    ),
    (
        """\
int values[100];
void shift(void) {
    #pragma omp parallel for
    for (int i = 0; i < 99; i++)
        values[i] = values[i + 1];
}""",
        "yes",
    ),
)


def prompt_of(code: str) -> str:
    """Return the text in which code is shown to a plain language model."""
    return code + QUESTION


HEADER = "".join(f"{prompt_of(code)} {answer}\n\n" for code, answer in SHOTS)
